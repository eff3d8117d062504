// SPDX-License-Identifier: BSL-1.0
// Two names as one subject of an error, where one alone would not say what is wrong.
#pragma once

#include <tether/core/label.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

namespace tether::detail {

/// `new over old`. Where a label is too short for both, both are cut.
[[nodiscard, gnu::cold]] constexpr label one_over_other(std::string_view one,
                                                        std::string_view other) noexcept {
  constexpr std::string_view between = " over ";
  constexpr std::size_t room = label::capacity - between.size();
  // a short one leaves its room to the other
  const std::size_t second = std::min(other.size(), room - std::min(one.size(), room / 2));
  const std::size_t first = std::min(one.size(), room - second);
  std::array<char, label::capacity> text{};
  std::size_t length = 0;
  for (std::string_view part : {one.substr(0, first), between, other.substr(0, second)}) {
    for (const char c : part) text[length++] = c;
  }
  return label{std::string_view{text.data(), length}};
}

}  // namespace tether::detail
