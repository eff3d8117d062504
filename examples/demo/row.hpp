// SPDX-License-Identifier: BSL-1.0
// The result of one configuration's story, and the expected one.
#pragma once

#include <tether/discard/report.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace demo {

enum class verdict : std::uint8_t {
  corrupted,  ///< CPU and device disagree, as they must where nothing protects them
  safe,       ///< they never did, and every count is right
  refused,    ///< it does not fit; nothing was touched, and the error says what would fit
  not_run,    ///< this machine does not allow it
  wrong,      ///< a check failed
};

[[nodiscard]] inline char const* name_of(verdict what) noexcept {
  switch (what) {
    case verdict::corrupted: return "corrupted";
    case verdict::safe: return "safe";
    case verdict::refused: return "refused";
    case verdict::not_run: return "not run";
    case verdict::wrong: break;
  }
  return "WRONG";
}

/// One row of the table.
struct row {
  std::string backend{};
  std::string inhibition{};
  std::string granularity{};
  std::uint64_t guest_bytes = 0;
  std::uint64_t map_calls = 0;
  std::uint64_t pinned_bytes = 0;    ///< what the kernel says (VmPin), with the device attached
  tether::discard_report frames{};   ///< of all requests of the balloon
  std::uint64_t unit_bytes = 0;      ///< of the units that its memory is divided into, or 0
  std::uint64_t gone_meanwhile = 0;  ///< frames that were discarded with the NIC attached
  std::uint64_t stale_bytes = 0;     ///< at which CPU and device disagree
  verdict ended = verdict::wrong;
  std::vector<std::string> remarks{};
  bool went_wrong = false;

  /// Compares a count with its expected value.
  void expect(char const* what, std::uint64_t found, std::uint64_t expected) {
    if (found != expected)
      remark_wrong(std::string{what} + ": " + std::to_string(found) + ", and not " +
                   std::to_string(expected));
  }
  void expect_that(bool holds, char const* otherwise) {
    if (!holds) remark_wrong(otherwise);
  }
  /// Ends the row, unless it went wrong.
  void end_as(verdict how) {
    if (!went_wrong) ended = how;
  }
  void remark_wrong(std::string sentence) {
    went_wrong = true;
    ended = verdict::wrong;
    remarks.push_back(std::move(sentence));
  }
};

/// Frames of memory that the host had back, as the balloon reports them.
[[nodiscard]] inline std::uint64_t gone(row const& of) noexcept {
  return of.frames.discarded + of.frames.completed;
}

}  // namespace demo
