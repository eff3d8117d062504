// SPDX-License-Identifier: BSL-1.0
// A name, stored inline: copying it never allocates, so it never fails. For the names of blocks and
// regions, the subject of an `error`, the holders in a discard gate.
#pragma once

#include <tether/version.hpp>

#include <array>
#include <cstddef>
#include <string_view>

namespace tether {

/// Up to 47 bytes of text; a longer one is cut, and ends in "...". It ends at the first zero byte.
class label {
 public:
  static constexpr std::size_t capacity = 47;  ///< bytes of text that it can keep

  constexpr label() noexcept = default;
  /// Cuts what is longer.
  constexpr label(std::string_view text) noexcept {
    for (std::size_t i = 0; i < text.size() && i < capacity; ++i) text_[i] = text[i];
    if (text.size() > capacity) [[unlikely]]
      show_cut();
  }

  /// The text. Lives as long as the label.
  [[nodiscard]] constexpr std::string_view view() const noexcept { return text_.data(); }
  /// The same, zero-terminated.
  [[nodiscard]] constexpr const char* c_str() const noexcept { return text_.data(); }

  friend constexpr bool operator==(label const& a, label const& b) noexcept {
    return a.view() == b.view();
  }

 private:
  [[gnu::cold, gnu::noinline]] constexpr void show_cut() noexcept {
    for (std::size_t i = capacity - 3; i < capacity; ++i) text_[i] = '.';
  }

  std::array<char, capacity + 1> text_{};
};

}  // namespace tether
