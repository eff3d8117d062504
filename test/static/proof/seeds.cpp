// SPDX-License-Identifier: BSL-1.0
// Seeded mistakes, each found inside the compiler for its own reason: by the property that it
// breaks, and by the way there, word for word. Each is asked for that one property, so that a new
// one cannot find it first by a shorter way.
#include <tether/proof/proven_safe.hpp>

#include <support/proof_seeds.hpp>

#include <tether/inhibit/policies.hpp>

#include <string_view>
#include <type_traits>

namespace tether::seeds {
namespace {

using proof::property;

template <class Abstraction, property Broken>
constexpr bool found(std::string_view after) {
  using proof::small_scope;
  constexpr proof::broken_properties set = proof::bit(Broken);
  proof::sentence expected{};
  expected << proof::name_of(Broken) << " after: " << after;
  constexpr proof::broken_properties broken =
      proof::explored<Abstraction, small_scope, set>.now.broken;
  return proof::describe_trace(broken, proof::counterexample_of<Abstraction, small_scope, set>)
             .view() == expected.view();
}

#define TETHER_ATTACHED \
  "attach IOMMU-backed group 0: take hold; group 0: join container; group 0: map; "
#define TETHER_AGREED                                                                         \
  "attach mediated group 0: take hold; group 0: join container; group 0: map; open agreeing " \
  "device of group 0: populate; "                                                             \
  "group 0: open device"
#define TETHER_STALE "balloon discards; guest touches"

// Policies.
static_assert(found<seeded<no_inhibition>, property::stale_mapping>(
    "attach IOMMU-backed group 0: join container; group 0: map; " TETHER_STALE));
static_assert(found<seeded<forgets_what_has_no_device>, property::stale_mapping>(
    "attach IOMMU-backed group 0: join container; group 0: map; " TETHER_STALE));
static_assert(found<seeded<believes_the_first>, property::stale_mapping>(
    TETHER_ATTACHED
    "attach mediated group 1: populate; group 1: join container; open agreeing device of group 1: "
    "populate; group 1: open device; "
    "group 1: release hold; " TETHER_STALE));
static_assert(found<seeded<one_agreement_is_enough>, property::stale_mapping>(
    "attach mediated group 0: take hold; group 0: join container; group 0: map; open device of "
    "group 0: populate; group 0: open device; "
    "open agreeing device of group 0: populate; group 0: open device; group 0: release "
    "hold; " TETHER_STALE));
static_assert(found<seeded<holds_for_ever>, property::needless_refusal>(TETHER_AGREED));
static_assert(found<seeded<takes_it_back_at_close>, property::unbalanced_holds>(
    TETHER_AGREED
    "; group 0: release hold; close agreeing device of group 0: close device; group 0: release "
    "hold"));
// Beyond the small world.
template <class Policy, proof::fixed_string Why>
constexpr bool refused_beyond =
    std::is_same_v<proof::verdict_of<seeded<Policy>>, proof::refused_policy<Why>>;
static_assert(refused_beyond<believes_the_majority,
                             "tether[I12]: it treats many groups or devices otherwise than two">);
static_assert(refused_beyond<counts_in_two_bits,
                             "tether[I12]: it treats many groups or devices otherwise than two">);
static_assert(refused_beyond<
              counts_by_two_to_the_31st,
              "tether[I13]: it needs more than 65,535 holds for at most 16 devices or groups">);
static_assert(
    refused_beyond<admits_may_throw,
                   "tether[I8]: a member would never be asked: make it public, static, constexpr, "
                   "noexcept and of the right types">);
static_assert(
    refused_beyond<
        reads_a_variable,
        "tether[I9]: an answer is no constant expression: make 'holds' and 'admits' constexpr, and "
        "let them read nothing but their argument">);
static_assert(!proven_safe<seeded<forgets_attached>>);
// However they count.
static_assert(proven_safe<seeded<counts_by_sixteen>> && proven_safe<seeded<counts_in_tens>> &&
              proven_safe<seeded<counts_groups_in_hundreds>>);

// Orders.
static_assert(found<seeded<inhibit_per_group, holds_after_the_pin>, property::stale_mapping>(
    "attach IOMMU-backed group 0: join container; group 0: map; " TETHER_STALE));
static_assert(found<seeded<inhibit_per_group, joins_before_it_holds>, property::stale_mapping>(
    TETHER_AGREED
    "; group 0: release hold; attach IOMMU-backed group 1: join container; " TETHER_STALE));
static_assert(found<seeded<inhibit_per_container, joins_before_it_holds>, property::stale_mapping>(
    TETHER_AGREED
    "; group 0: release hold; attach IOMMU-backed group 1: join container; " TETHER_STALE));
static_assert(found<seeded<inhibit_per_group, releases_before_it_unmaps>, property::stale_mapping>(
    TETHER_ATTACHED "detach group 0: release hold; " TETHER_STALE));
static_assert(
    found<seeded<inhibit_per_device, device_joins_before_it_holds>, property::stale_mapping>(
        "attach agreeing device of mediated group 0: open device; group 0: bind device; group 0: "
        "join container; group 0: map; "
        "attach device of IOMMU-backed group 1: open device; group 1: bind device; group 1: join "
        "container; " TETHER_STALE));
static_assert(
    found<seeded<inhibit_per_device, device_releases_before_it_leaves>, property::stale_mapping>(
        "attach device of IOMMU-backed group 0: open device; group 0: bind device; group 0: take "
        "hold; group 0: join container; "
        "group 0: map; detach device of group 0: release hold; " TETHER_STALE));
static_assert(found<seeded<inhibit_per_group, leaks_on_failure>, property::unbalanced_holds>(
    "attach IOMMU-backed group 0: take hold; group 0: join container fails"));
static_assert(found<seeded<inhibit_per_group, never_judges>, property::stale_mapping>(
    TETHER_ATTACHED
    "open agreeing device of group 0: open device; group 0: release hold; " TETHER_STALE));

static_assert(std::is_same_v<proof::verdict_of<seeded<inhibit_per_group, judges_a_detach>>,
                             proof::refused_plans<"L1: not well formed">>);

// What is mapped read-only is there when it is mapped, may be discarded while nobody pins it, and
// must be there again before somebody does: under the hold, and whether a group joins, a device
// joins, or a device is opened.
#define TETHER_NOBODY_PINS TETHER_AGREED "; group 0: release hold; "
static_assert(found<seeded<inhibit_per_group, joins_what_was_discarded>, property::stale_mapping>(
    TETHER_NOBODY_PINS
    "balloon discards; attach IOMMU-backed group 1: take hold; group 1: join container; guest "
    "touches"));
static_assert(found<seeded<inhibit_per_group, populates_before_it_holds>, property::stale_mapping>(
    TETHER_NOBODY_PINS
    "attach IOMMU-backed group 1: populate; balloon discards; group 1: take hold; group 1: join "
    "container; guest touches"));
static_assert(found<seeded<inhibit_per_group, opens_what_was_discarded>, property::stale_mapping>(
    "attach mediated group 0: take hold; group 0: join container; group 0: map; open agreeing "
    "device of group 0: open device; "
    "group 0: release hold; close agreeing device of group 0: close device; balloon discards; open "
    "device of group 0: take hold; "
    "group 0: open device; guest touches"));
static_assert(
    found<seeded<inhibit_per_group, device_joins_what_was_discarded>, property::stale_mapping>(
        "attach agreeing device of mediated group 0: open device; group 0: bind device; group 0: "
        "join container; group 0: map; "
        "attach device of IOMMU-backed group 1: open device; group 1: bind device; balloon "
        "discards; group 1: take hold; "
        "group 1: join container; guest touches"));
#undef TETHER_NOBODY_PINS

// Rules.
static_assert(
    found<seeded<inhibit_per_group, of_groups, abandons_what_it_knows>, property::stale_mapping>(
        "attach IOMMU-backed group 0: take hold; group 0: join container; group 0: map gets stuck; "
        "abandon; " TETHER_STALE));
static_assert(
    found<seeded<inhibit_per_group, of_groups, never_counts_down>, property::unbounded_counts>(
        TETHER_ATTACHED "open device of group 0: populate; group 0: open device; open device of "
                        "group 0: populate; group 0: open device; "
                        "close device of group 0: close device; open device of group 0: populate; "
                        "group 0: open device; "
                        "close device of group 0: close device; open device of group 0: populate; "
                        "group 0: open device"));
static_assert(
    found<seeded<inhibit_per_group, of_groups, counts_but_does_not_drain>, property::stale_mapping>(
        "balloon gets permit; attach IOMMU-backed group 0: take hold; group 0: join container; "
        "group 0: map; balloon discards; guest touches"));
static_assert(found<seeded<inhibit_per_group, of_groups, goes_on_after_a_failed_undo>,
                    property::stale_mapping>(
    "attach IOMMU-backed group 0: take hold; group 0: join container; group 0: map gets stuck; "
    "group 0: undo: leave container fails; "
    "group 0: undo: release hold; " TETHER_STALE));

#undef TETHER_ATTACHED
#undef TETHER_AGREED
#undef TETHER_STALE

// None of them is proven safe, whichever property is first to say so.
static_assert(!proven_safe<seeded<holds_for_ever>> &&
              !proven_safe<seeded<inhibit_per_group, leaks_on_failure>>);

}  // namespace
}  // namespace tether::seeds
