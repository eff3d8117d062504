// SPDX-License-Identifier: BSL-1.0
// The demo's command line. Anything that it does not understand is answered with one sentence.
#pragma once

#include <tether/core/address.hpp>

#include <charconv>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace demo {

inline constexpr std::uint64_t least_memory = tether::MiB;
inline constexpr std::uint64_t most_memory = 2 * tether::GiB;
/// A guest is whole blocks of this size, so that it is whole pages of every host.
inline constexpr std::uint64_t memory_unit = 64 * tether::KiB;

struct arguments {
  bool help = false;
  std::uint64_t memory = 256 * tether::MiB;  ///< bytes
  std::string json{};                        ///< a file's name; empty: none
};

inline constexpr const char* usage =
    "usage: passthrough_demo [--memory SIZE] [--json FILE]\n"
    "\n"
    "Takes a guest of real memory through the same story in every valid configuration of tether, "
    "and once without\n"
    "tether: a balloon discards, a device whose memory the kernel pins reads and writes, and the "
    "CPU looks whether it\n"
    "sees the same. One row each.\n"
    "\n"
    "  --memory SIZE   the guest's memory, 1M to 2G with a suffix K, M or G; 256M if not given\n"
    "  --json FILE     write the rows to FILE as well\n"
    "  --help          this\n"
    "\n"
    "Needs no privileges. Answers 0 if every row is as it must be, 1 if one is not, 2 if it was "
    "asked for something else.\n";

/// "64M" and the like, in bytes; nothing if it is no such number.
[[nodiscard]] inline std::optional<std::uint64_t> size_from(std::string_view text) {
  std::uint64_t unit = 1;
  if (!text.empty()) {
    switch (text.back()) {
      case 'K':
      case 'k': unit = tether::KiB; break;
      case 'M':
      case 'm': unit = tether::MiB; break;
      case 'G':
      case 'g': unit = tether::GiB; break;
      default: break;
    }
  }
  if (unit != 1) text.remove_suffix(1);
  std::uint64_t number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (wrong != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (number > most_memory / unit) return most_memory + 1;
  return number * unit;
}

/// The arguments, or the sentence that says what is wrong with them.
[[nodiscard]] inline std::variant<arguments, std::string> parse(
    std::span<char const* const> words) {
  arguments asked;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string word = words[at];
    if (word == "--help" || word == "-h") {
      asked.help = true;
      continue;
    }
    if (word != "--memory" && word != "--json")
      return "'" + word + "' is not an option of this program; --help lists them";
    if (at + 1 == words.size()) return word + " needs a value behind it; --help tells which";
    const std::string value = words[++at];
    if (word == "--json") {
      if (value.empty()) return std::string{"--json needs the name of a file"};
      asked.json = value;
      continue;
    }
    const auto bytes = size_from(value);
    if (!bytes)
      return "--memory: '" + value + "' is not a size; write a number with a suffix, such as 64M";
    if (*bytes < least_memory || *bytes > most_memory)
      return "--memory: '" + value + "' is out of range; a guest has 1M to 2G here";
    if (*bytes % memory_unit != 0) return "--memory: '" + value + "' is not a multiple of 64K";
    asked.memory = *bytes;
  }
  return asked;
}

}  // namespace demo
