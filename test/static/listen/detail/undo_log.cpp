// SPDX-License-Identifier: BSL-1.0
// The way back: additions first, latest first, then removals, latest first; all are tried.
#include <tether/listen/detail/undo_log.hpp>

#include <cstddef>
#include <cstdint>

namespace tether {

using namespace detail;
namespace {

struct trace {
  std::uint64_t steps = 0;
  bool worked = false;
  bool empty = false;
  friend constexpr bool operator==(trace const&, trace const&) = default;
};

/// Unmaps are noted as 1 to 9, maps as 11 to 19; `fails` is the step that does not work.
constexpr trace unwound(undo_log log, std::uint64_t fails = 0) {
  trace all;
  const auto note = [&](std::uint64_t step) {
    all.steps = all.steps * 100 + step;
    return step != fails;
  };
  all.worked = log.unwind([&](std::size_t i) { return note(1 + i); },
                          [&](std::size_t i) { return note(11 + i); });
  all.empty = log.unmapped == 0 && log.mapped == 0;
  return all;
}

static_assert(unwound({}) == trace{0, true, true});
static_assert(unwound({.unmapped = 2, .mapped = 0}) == trace{1211, true, true});
static_assert(unwound({.unmapped = 2, .mapped = 3}) == trace{302011211, true, true});
static_assert(unwound({.unmapped = 2, .mapped = 3}, 2) == trace{302011211, false, true},
              "all are tried");
static_assert(unwound({.unmapped = 2, .mapped = 3}, 11) == trace{302011211, false, true});

}  // namespace
}  // namespace tether
