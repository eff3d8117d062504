// SPDX-License-Identifier: BSL-1.0
// The name of a block or a region, stored inline: copying it never allocates, so it never fails.
// Cut at 47 bytes, like the subject of an `error`.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace tether {

/// Up to 47 bytes of text.
class label {
 public:
  static constexpr std::size_t capacity = 47;

  constexpr label() noexcept = default;
  constexpr label(std::string_view text) noexcept : length_{text.size() < capacity ? text.size() : capacity} {
    for (std::size_t i = 0; i < length_; ++i) text_[i] = text[i];
  }

  [[nodiscard]] constexpr std::string_view view() const noexcept { return {text_.data(), length_}; }
  /// The same, zero-terminated.
  [[nodiscard]] constexpr const char* c_str() const noexcept { return text_.data(); }

  friend constexpr bool operator==(label const& a, label const& b) noexcept { return a.view() == b.view(); }

 private:
  std::array<char, capacity + 1> text_{};
  std::size_t length_ = 0;
};

}  // namespace tether
