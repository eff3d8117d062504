// SPDX-License-Identifier: BSL-1.0
// Text of a user's own, a name above all, within a line that is printed and within JSON: neither
// may be broken by a quotation mark, a line's end, half a character, or what a terminal obeys. `To`
// is a string, or what takes characters and views as one does: <string> is not needed here.
#pragma once

#include <tether/version.hpp>

#include <cstddef>
#include <string_view>

namespace tether::detail {

/// How many bytes the first character of `text` has if it is well formed UTF-8 (RFC 3629: no
/// surrogate, nothing beyond U+10FFFF, none longer than it need be), else 0.
[[nodiscard]] constexpr std::size_t first_character(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return 0;
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t size = lead < 0xc2   ? 0
                           : lead < 0xe0 ? 2
                           : lead < 0xf0 ? 3
                           : lead < 0xf5 ? 4
                                         : 0;
  if (size == 0 || text.size() < size) return 0;
  // the second byte has less room after these
  const unsigned char least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < least || byte(1) > most) return 0;
  for (std::size_t i = 2; i < size; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return size;
}

/// Whether a character, `size` bytes long, would end the line or command a terminal: C0, DEL, or C1
/// in UTF-8.
[[nodiscard]] constexpr bool is_control(std::string_view text, std::size_t size) noexcept {
  const auto byte = static_cast<unsigned char>(text.front());
  return byte < 0x20 || byte == 0x7f ||
         (size == 2 && byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0);
}

template <class To>
void append_hexadecimal(To& to, unsigned char byte) {
  constexpr std::string_view digits = "0123456789abcdef";
  to += digits[byte >> 4U];
  to += digits[byte & 0xfU];
}

/// Appends `text` as a JSON string (RFC 8259), quotation marks included. A byte that is no UTF-8
/// becomes U+FFFD. Fails: as `to`.
template <class To>
void append_json(To& to, std::string_view text) {
  to += '"';
  while (!text.empty()) {
    const std::size_t size = first_character(text);
    const auto byte = static_cast<unsigned char>(text.front());
    if (size == 0) {
      to += "\\ufffd";
    } else if (byte == '"' || byte == '\\') {
      to += '\\';
      to += text.front();
    } else if (byte < 0x20 || byte == 0x7f) {
      to += "\\u00";
      append_hexadecimal(to, byte);
    } else {
      to += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  to += '"';
}

/// Appends `text` between single quotation marks, on one line: control characters, quotation marks
/// and what is no UTF-8 are shown as `\x0a`. Fails: as `to`.
template <class To>
void append_quoted(To& to, std::string_view text) {
  to += '\'';
  while (!text.empty()) {
    const std::size_t size = first_character(text);
    const std::size_t shown = size == 0 ? 1 : size;
    if (size == 0 || is_control(text, size) || text.front() == '\'' || text.front() == '\\') {
      for (const char byte : text.substr(0, shown)) {
        to += "\\x";
        append_hexadecimal(to, static_cast<unsigned char>(byte));
      }
    } else {
      to += text.substr(0, size);
    }
    text.remove_prefix(shown);
  }
  to += '\'';
}

}  // namespace tether::detail
