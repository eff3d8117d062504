// SPDX-License-Identifier: BSL-1.0
// A search ends where it should, in portions as in one go, and plays back what it has found.
#include <tether/proof/search/breadth_first.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

using tiny = scope<1, 1, 1, permits::momentary>;
template <class Abstraction, std::size_t Capacity, broken_properties Judged = every_property>
using search_in = exploration<Abstraction, tiny, fixed_table<key<tiny>, Capacity>, Judged>;
using subject = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>>;
using unprotected = abstraction<no_inhibition, lifecycle_of<attach_unit::group>>;

template <class Search>
constexpr Search searched(std::uint32_t portion) {
  Search all{};
  all.begin();
  while (!all.finished() && !all.now.full) all.expand(portion);
  return all;
}
constexpr auto whole = searched<search_in<subject, 128>>(1000);
constexpr auto portions = searched<search_in<subject, 128>>(7);
static_assert(whole.finished() && whole.now.broken == 0 && whole.found.size > 10 &&
              whole.found.size == portions.found.size);
static_assert(whole.now.transitions == portions.now.transitions &&
              whole.now.reached == portions.now.reached);
static_assert(whole.now.reached.has(act::replay, outcome::failed) &&
              !whole.now.reached.has(operation::attach_next, ending::finished));

// A table that is too small says so, before anything is lost.
constexpr auto crowded = searched<search_in<subject, 8>>(1000);
static_assert(crowded.now.full && !crowded.finished() && crowded.found.size == 8 &&
              crowded.now.expanded < 8);

constexpr auto stale = searched<search_in<unprotected, 128>>(1000);
static_assert(stale.finished() && stale.now.broken == bit(property::stale_mapping));
constexpr trace way = replay(stale);
static_assert(way.length == 4 && way.events[0].what == act::join &&
              way.events[1].what == act::replay);
static_assert(way.events[2].who == actor::discard && way.events[3].who == actor::guest);

// What nobody asks about ends no search.
constexpr auto unasked =
    searched<search_in<unprotected, 128, every_property & ~bit(property::stale_mapping)>>(1000);
static_assert(unasked.finished() && unasked.now.broken == 0);

}  // namespace
}  // namespace tether::proof
