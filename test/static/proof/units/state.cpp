// SPDX-License-Identifier: BSL-1.0
// What a state says of itself.
#include <tether/proof/units/state.hpp>

namespace tether::proof {
namespace {

using two = unit_world<unit_scope<2, 2>>;

constexpr two both_want_it_gone = [] {
  two here{};
  here.sources[0].wants = here.sources[1].wants = true;
  here.sources[1].gave = true;
  here.present = false;
  return here;
}();
static_assert(two{}.record() == tether::detail::unit_record{} && two{}.guest_uses());
static_assert(both_want_it_gone.record().wanted_gone == 2 && !both_want_it_gone.record().present);
static_assert(!both_want_it_gone.guest_uses());

static_assert(!follower_state{}.holds() && follower_state{}.at_rest());
static_assert(follower_state{.attached = true}.holds());
static_assert(follower_state{.diverged = true}.holds());
static_assert(follower_state{.doing = follower_task::attach}.holds() &&
              follower_state{.doing = follower_task::detach}.holds());

}  // namespace
}  // namespace tether::proof
