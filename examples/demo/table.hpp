// SPDX-License-Identifier: BSL-1.0
// The rows as a table on standard output, and on a terminal a progress line.
#pragma once

#include "row.hpp"

#include <tether/core/address.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <unistd.h>

namespace demo {

/// Prints each row as it comes.
class table {
 public:
  void head() const {
    print({"backend", "inhibition", "granularity", "guest", "map", "pinned", "pages", "pages",
           "with NIC", "pages", "stale", ""});
    print({"", "", "", "MiB", "calls", "MiB", "requested", "discarded", "attached", "inhibited",
           "bytes", "verdict"});
    std::puts(std::string(137, '-').c_str());
  }
  void add(row const& one) const {
    const auto number = [&](std::uint64_t value) {
      return one.ended == verdict::not_run ? std::string{"-"} : std::to_string(value);
    };
    print({one.backend, one.inhibition, one.granularity, number(one.guest_bytes / tether::MiB),
           number(one.map_calls), number(one.pinned_bytes / tether::MiB),
           number(one.frames.requested), number(gone(one)), number(one.gone_meanwhile),
           number(one.frames.inhibited), number(one.stale_bytes), name_of(one.ended)});
    if (one.ended == verdict::wrong) {
      for (auto const& remark : one.remarks) std::printf("    %s\n", remark.c_str());
    }
    std::fflush(stdout);
  }

 private:
  static constexpr std::size_t columns = 12;
  /// Negative: left-aligned.
  static constexpr std::array<int, columns> widths{-16, -21, -20, 5, 6, 6, 9, 9, 8, 9, 9, -9};

  static void print(std::array<std::string, columns> const& cells) {
    std::string line;
    for (std::size_t i = 0; i < columns; ++i) {
      const auto width = static_cast<std::size_t>(widths[i] < 0 ? -widths[i] : widths[i]);
      const std::string space(cells[i].size() < width ? width - cells[i].size() : 0, ' ');
      if (i != 0) line += "  ";
      line += widths[i] < 0 ? cells[i] + space : space + cells[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::puts(line.c_str());
  }
};

/// A line that is overwritten, on a terminal only.
class progress {
 public:
  explicit progress(std::size_t all) : all_{all}, shown_{::isatty(STDERR_FILENO) == 1} {}
  ~progress() { clear(); }
  progress(progress const&) = delete;
  progress& operator=(progress const&) = delete;

  void next(std::string const& what) {
    ++done_;
    if (shown_) std::fprintf(stderr, "\r\033[K[%zu/%zu] %s", done_, all_, what.c_str());
  }
  void clear() const {
    if (shown_) std::fputs("\r\033[K", stderr);
  }

 private:
  std::size_t all_;
  std::size_t done_ = 0;
  bool shown_;
};

}  // namespace demo
