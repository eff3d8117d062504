// SPDX-License-Identifier: BSL-1.0
// A world counts holds as the gate does, and a container's counts are its groups'.
#include <tether/proof/model/state.hpp>

#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

using two = scope<2, 2, 2>;

constexpr world<two> busy = [] {
  world<two> here{};
  here.containers[0].held = 1;
  here.containers[0].groups[1] = {.counts = {.agreed = 1, .attached = true, .consent_known = true},
                                  .held = 0};
  here.containers[1].groups[0] = {.counts = {.declined = 2, .attached = true}, .held = 3};
  return here;
}();
static_assert(world<two>{}.holds() == 0 && busy.holds() == 4);
static_assert(busy.containers[0].counts() == container_counts{1, 1} &&
              busy.containers[1].counts() == container_counts{1, 0});
static_assert(busy.containers[0].at_rest());

constexpr world<two> leaking = [] {
  world<two> here = busy;
  here.leaked = true;
  return here;
}();
static_assert(leaking.holds() == 5);

}  // namespace
}  // namespace tether::proof
