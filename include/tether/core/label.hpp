// SPDX-License-Identifier: BSL-1.0
// A name, stored inline: copying it never allocates, so it never fails. For the names of blocks and
// regions, the subject of an `error`, the holders in a discard gate.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace tether {

/// Up to 47 bytes of text; the rest is cut off. It ends at the first zero byte.
class label {
 public:
  static constexpr std::size_t capacity = 47;

  constexpr label() noexcept = default;
  constexpr label(std::string_view text) noexcept {
    for (std::size_t i = 0; i < text.size() && i < capacity; ++i) text_[i] = text[i];
  }

  [[nodiscard]] constexpr std::string_view view() const noexcept { return text_.data(); }
  /// The same, zero-terminated.
  [[nodiscard]] constexpr const char* c_str() const noexcept { return text_.data(); }

  friend constexpr bool operator==(label const& a, label const& b) noexcept {
    return a.view() == b.view();
  }

 private:
  std::array<char, capacity + 1> text_{};
};

}  // namespace tether
