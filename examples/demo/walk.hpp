// SPDX-License-Identifier: BSL-1.0
// Runs story after story, and keeps the results. The stories over one backend are a source of their
// own (`over_*.cpp`), because each configuration is compiled for seconds.
#pragma once

#include "configurations.hpp"
#include "host.hpp"
#include "row.hpp"
#include "table.hpp"

#include <boost/hana/size.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace demo {

class walk {
 public:
  walk(std::uint64_t memory, pinning allowed)
      : memory_{memory},
        allowed_{std::move(allowed)},
        progress_{decltype(hana::size(every_valid_configuration))::value + 2 +
                  decltype(hana::size(backends))::value} {}

  /// The largest guest over this backend; 0: none can be.
  template <class Backend>
  [[nodiscard]] std::uint64_t most() const {
    return Backend::pins ? allowed_.most : memory_;
  }
  /// The same where the kernel pins.
  [[nodiscard]] std::uint64_t most_pinned() const { return allowed_.most; }

  /// Adds a row: what `story(row&)` makes of this one. Whatever it throws is a remark that the row
  /// is wrong.
  template <class Story>
  void run(row told, Story story) {
    progress_.next(told.backend + ", " + told.inhibition + ", " + told.granularity);
    if (told.guest_bytes == 0) {
      told.ended = verdict::not_run;
    } else {
      try {
        story(told);
      } catch (std::exception const& why) {
        told.remark_wrong(why.what());
      }
    }
    progress_.clear();
    table_.add(told);
    rows_.push_back(std::move(told));
  }
  void note(std::string sentence) {
    if (std::ranges::find(notes_, sentence) == notes_.end()) notes_.push_back(std::move(sentence));
  }

  void begin() const { table_.head(); }
  [[nodiscard]] bool good() const {
    return std::ranges::none_of(rows_, [](row const& one) { return one.ended == verdict::wrong; });
  }
  [[nodiscard]] std::vector<row> const& rows() const { return rows_; }
  [[nodiscard]] std::vector<std::string> const& notes() const { return notes_; }

 private:
  std::uint64_t memory_;
  pinning allowed_;
  table table_{};
  progress progress_;
  std::vector<row> rows_{};
  std::vector<std::string> notes_{};
};

/// Every valid configuration over the backend.
template <class Backend>
void tell_every_configuration(walk& into);

/// Blocks of 4 KiB: the row that shows the refused budget. A guest that is small enough is not
/// refused.
template <class Backend>
void tell_the_smallest_blocks(walk& into);

}  // namespace demo
