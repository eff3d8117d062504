// SPDX-License-Identifier: BSL-1.0
// Every field survives packing, and two sources that are alike are interchangeable.
#include <tether/proof/units/state_key.hpp>

namespace tether::proof {
namespace {

using two = unit_scope<2, 2>;
using packer_type = unit_packer<two>;

constexpr unit_world<two> busy = [] {
  unit_world<two> here{};
  here.containers[0] = {true,
                        false,
                        true,
                        false,
                        true,
                        follower_task::abandon,
                        follower_step::end,
                        unit_outcome::stuck,
                        false,
                        true,
                        false,
                        true};
  here.containers[1] = {false,
                        true,
                        false,
                        true,
                        false,
                        follower_task::work,
                        follower_step::call,
                        unit_outcome::failed,
                        true,
                        false,
                        true,
                        false};
  here.sources[0] = {.wants = true,
                     .doing = source_task::fence,
                     .step = unit_step::give_back,
                     .at = 2,
                     .undo_before = 1,
                     .ended = unit_outcome::stuck};
  here.sources[1] = {.step = unit_step::settle, .at = 1, .telling = true, .gave = true};
  here.present = false;
  here.changing = true;
  here.may_be_mapped = true;
  here.turns = {2, 1, true};
  here.memory_there = false;
  return here;
}();
constexpr unit_world<two> idle{};
constexpr bool same(unit_world<two> const& one, unit_world<two> const& other) {
  const bool straight = one.sources[0] == other.sources[0] && one.sources[1] == other.sources[1];
  const bool crossed = one.sources[0] == other.sources[1] && one.sources[1] == other.sources[0];
  return one.containers[0] == other.containers[0] && one.containers[1] == other.containers[1] &&
         (straight || crossed) && one.record() == other.record() && one.turns == other.turns &&
         one.memory_there == other.memory_there;
}
static_assert(same(packer_type::unpack(packer_type::pack(busy)), busy));
static_assert(same(packer_type::unpack(packer_type::pack(idle)), idle));

constexpr unit_world<two> exchanged = [] {
  unit_world<two> here = busy;
  here.sources[0] = busy.sources[1];
  here.sources[1] = busy.sources[0];
  return here;
}();
static_assert(packer_type::pack(exchanged) == packer_type::pack(busy));
static_assert(packer_type::pack(busy) != packer_type::pack(idle));
static_assert(packer_type::pack(busy).hash() != packer_type::pack(idle).hash());
static_assert(packer_type::fits && unit_key<unit_scope<3, 3>>::all <= 128);

}  // namespace
}  // namespace tether::proof
