// SPDX-License-Identifier: BSL-1.0
// Reads a text file of /proc line by line, without an allocation: for errors, which ask the kernel
// what it has told with one errno.
#pragma once

#include <tether/core/kernel.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <string_view>
#include <sys/syscall.h>

namespace tether::detail {

/// Calls `visit(line)` for each line, without its end, until it answers false. Of a line longer
/// than 511 bytes it gets the first 511. Returns 0, or the negative errno of the call that failed.
template <class Kernel, class Visit>
[[gnu::cold]] std::int64_t for_each_line(const char* path, Visit visit) noexcept {
  const auto file = Kernel::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (file < 0) return file;
  std::array<char, 4096> read{};
  std::array<char, 511> line{};
  std::size_t length = 0;
  bool goes_on = true;
  std::int64_t answer = 0;
  while (goes_on) {
    answer = Kernel::call(SYS_read, static_cast<int>(file), read.data(), read.size());
    if (answer <= 0) break;
    for (std::size_t i = 0; goes_on && i != static_cast<std::size_t>(answer); ++i) {
      if (read[i] == '\n') {
        goes_on = visit(std::string_view{line.data(), length});
        length = 0;
      } else if (length != line.size()) {
        line[length++] = read[i];
      }
    }
  }
  if (goes_on && answer == 0 && length != 0) visit(std::string_view{line.data(), length});
  static_cast<void>(Kernel::close(static_cast<int>(file)));
  return answer < 0 ? answer : 0;
}

/// Takes a number of this base off the front of `text`, behind blanks; 0 if there is none.
[[nodiscard]] constexpr std::uint64_t take_number(std::string_view& text, unsigned base) noexcept {
  text.remove_prefix(text.find_first_not_of(" \t") == text.npos ? text.size()
                                                                : text.find_first_not_of(" \t"));
  std::uint64_t value = 0;
  while (!text.empty()) {
    const char c = text.front();
    const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                           : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                                                  : base;
    if (digit >= base) break;
    value = value * base + digit;
    text.remove_prefix(1);
  }
  return value;
}

}  // namespace tether::detail
