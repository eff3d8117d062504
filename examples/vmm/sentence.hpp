// SPDX-License-Identifier: BSL-1.0
// What cannot be done is said in one sentence, and sizes are written as people write them: 512M.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace vmm {

using tether::GiB;
using tether::KiB;
using tether::MiB;

/// A command or an option that failed. `what()` is the sentence that is printed.
struct cannot : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The value. Fails: throws `cannot` with the error's own sentence.
template <class T>
T must(tether::result<T> answer) {
  if (!answer) throw cannot{answer.error().sentence()};
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

/// What a system call answered. Fails: throws `cannot`, saying what was tried.
inline int must_call(int answer, std::string const& tried) {
  if (answer < 0) throw cannot{tried + ": " + std::strerror(errno)};
  return answer;
}

/// Bytes of "512M", "64K", "1G" or "4096"; nothing if it is no size.
[[nodiscard]] inline std::optional<std::uint64_t> size_from(std::string_view text) {
  std::uint64_t unit = 1;
  if (text.ends_with('K')) unit = KiB;
  if (text.ends_with('M')) unit = MiB;
  if (text.ends_with('G')) unit = GiB;
  if (unit != 1) text.remove_suffix(1);
  std::uint64_t number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (wrong != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (number > (std::uint64_t{1} << 52) / unit) return std::nullopt;
  return number * unit;
}

/// The same the other way round, exactly: "512M", "100K".
[[nodiscard]] inline std::string in_words(std::uint64_t bytes) {
  if (bytes % MiB == 0) return std::to_string(bytes / MiB) + "M";
  return std::to_string(bytes / KiB) + "K";
}

}  // namespace vmm
