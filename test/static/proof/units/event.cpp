// SPDX-License-Identifier: BSL-1.0
// An event is compared whole.
#include <tether/proof/units/event.hpp>

namespace tether::proof {
namespace {

constexpr unit_event mapped{
    .by_source = true, .source_does = source_task::populate, .what = unit_call::map, .told = 1};
constexpr unit_event elsewhere = [] {
  unit_event one = mapped;
  one.told = 0;
  return one;
}();
static_assert(mapped == mapped && mapped != elsewhere && mapped != unit_event{});

}  // namespace
}  // namespace tether::proof
