// SPDX-License-Identifier: BSL-1.0
// The order of the steps, with what follows a failure; and which configurations follow units.
#include <tether/proof/units/machinery.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>

#include <type_traits>

namespace tether::proof {
namespace {

constexpr auto after = [](source_task what, unit_step step, unit_outcome how = unit_outcome::done) {
  return unit_machinery::after(what, step, how);
};
using enum unit_step;
constexpr auto failed = unit_outcome::failed;

static_assert(unit_machinery::first(source_task::discard) == enter);
static_assert(after(source_task::discard, enter) == lock);
static_assert(after(source_task::discard, lock) == tell);
static_assert(after(source_task::discard, tell) == empty);
static_assert(after(source_task::discard, empty) == settle);
static_assert(after(source_task::discard, settle) == ended);
static_assert(after(source_task::discard, enter, failed) == ended);
static_assert(after(source_task::discard, lock, failed) == ended);
static_assert(after(source_task::discard, tell, failed) == ended);
static_assert(after(source_task::discard, empty, failed) == take_back);

static_assert(unit_machinery::first(source_task::populate) == bring_in);
static_assert(after(source_task::populate, bring_in) == enter);
static_assert(after(source_task::populate, tell) == settle);
static_assert(after(source_task::populate, bring_in, failed) == give_back);
static_assert(after(source_task::populate, lock, failed) == give_back);
static_assert(after(source_task::populate, tell, unit_outcome::stuck) == give_back);
static_assert(after(source_task::populate, give_back, failed) == ended);

static_assert(after(source_task::fence, bring_in, failed) == enter);
static_assert(after(source_task::fence, enter, failed) == tell, "it takes no lock of several");
static_assert(after(source_task::fence, tell, failed) == settle);

// Whoever maps in blocks follows units, whether or not it pins.
static_assert(follows_units<container<vfio_type1, fixed_block<2 * MiB>>>);
static_assert(follows_units<container<software_iommu, fixed_block<2 * MiB>>>);
static_assert(!follows_units<container<vfio_type1>> &&
              !follows_units<container<vfio_type1, largest_page>>);
static_assert(std::is_same_v<unit_abstraction_of<container<vfio_type1, fixed_block<2 * MiB>>>,
                             unit_abstraction<hold_kind::uncoordinated>>);
static_assert(std::is_same_v<unit_abstraction_of<unit_abstraction<hold_kind::any>>,
                             unit_abstraction<hold_kind::any>>);

struct rude : unit_machinery {
  static constexpr bool may_tell(tether::detail::telling_and_enrolling) noexcept { return true; }
};
static_assert(tells_alone<unit_machinery> && !tells_alone<rude>);

}  // namespace
}  // namespace tether::proof
