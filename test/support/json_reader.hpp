// SPDX-License-Identifier: BSL-1.0
// A strict reader of JSON (RFC 8259), for what the library prints: it refuses whatever a program
// that reads it might. Objects and lists become paths to their leaves: `groups/0/name`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace tether_test {

/// The leaves of a document: numbers, `true` and `false` as they are written, strings decoded.
using json_leaves = std::map<std::string, std::string>;

class json_reader {
 public:
  /// Nothing if it is not JSON, or has a member twice.
  static std::optional<json_leaves> read(std::string_view text) {
    json_reader it{text};
    if (!it.value("") || !it.left_.empty()) return std::nullopt;
    return it.leaves_;
  }

 private:
  explicit json_reader(std::string_view text) : left_{text} {}

  bool take(std::string_view what) {
    if (!left_.starts_with(what)) return false;
    left_.remove_prefix(what.size());
    return true;
  }
  bool leaf(std::string const& path, std::string value) {
    return leaves_.emplace(path, std::move(value)).second;
  }
  bool value(std::string const& path) {
    if (take("{")) return members(path);
    if (take("[")) return elements(path);
    if (left_.starts_with('"')) {
      auto text = string();
      return text && leaf(path, *text);
    }
    for (std::string_view word : {"true", "false"}) {
      if (take(word)) return leaf(path, std::string{word});
    }
    std::string digits;
    while (!left_.empty() && left_.front() >= '0' && left_.front() <= '9') {
      digits += left_.front();
      left_.remove_prefix(1);
    }
    return !digits.empty() && (digits.size() == 1 || digits.front() != '0') && leaf(path, digits);
  }
  bool members(std::string const& path) {
    if (take("}")) return true;
    do {
      const auto key = string();
      if (!key || !take(": ") || !value(path.empty() ? *key : path + "/" + *key)) return false;
    } while (take(", "));
    return take("}");
  }
  bool elements(std::string const& path) {
    if (take("]")) return true;
    std::size_t i = 0;
    do {
      if (!value(path + "/" + std::to_string(i++))) return false;
    } while (take(", "));
    return take("]");
  }
  /// With its quotation marks.
  std::optional<std::string> string() {
    std::string text;
    if (!take("\"")) return std::nullopt;
    while (!take("\"")) {
      if (left_.empty()) return std::nullopt;
      if (take("\\")) {
        if (!escaped(text)) return std::nullopt;
      } else if (!character(text)) {
        return std::nullopt;
      }
    }
    return text;
  }
  bool escaped(std::string& text) {
    for (std::string_view one : {"\"", "\\", "/"}) {
      if (take(one)) {
        text += one;
        return true;
      }
    }
    if (!take("u") || left_.size() < 4) return false;
    std::uint32_t code = 0;
    for (const char c : left_.substr(0, 4)) {
      const auto digit = std::string_view{"0123456789abcdef"}.find(c);
      if (digit == std::string_view::npos) return false;
      code = code * 16 + static_cast<std::uint32_t>(digit);
    }
    left_.remove_prefix(4);
    if (code >= 0xd800 && code < 0xe000) return false;  // half of a pair: the library makes none
    append(text, code);
    return true;
  }
  /// One character of UTF-8, decoded and encoded again: what is not the same then was wrong.
  bool character(std::string& text) {
    const auto lead = static_cast<unsigned char>(left_.front());
    if (lead < 0x20) return false;
    const std::size_t size = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (left_.size() < size) return false;
    std::uint32_t code = size == 1 ? lead : lead & (0xffU >> (size + 1));
    for (std::size_t i = 1; i != size; ++i)
      code = code << 6U | (static_cast<unsigned char>(left_[i]) & 0x3fU);
    std::string again;
    append(again, code);
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || again != left_.substr(0, size))
      return false;
    text += again;
    left_.remove_prefix(size);
    return true;
  }
  static void append(std::string& text, std::uint32_t code) {
    const auto more = [&](unsigned shift) {
      text += static_cast<char>(0x80U | (code >> shift & 0x3fU));
    };
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xc0U | code >> 6U);
      more(0);
    } else if (code < 0x10000) {
      text += static_cast<char>(0xe0U | code >> 12U);
      more(6);
      more(0);
    } else {
      text += static_cast<char>(0xf0U | (code >> 18U & 0x07U));
      more(12);
      more(6);
      more(0);
    }
  }

  std::string_view left_;
  json_leaves leaves_;
};

}  // namespace tether_test
