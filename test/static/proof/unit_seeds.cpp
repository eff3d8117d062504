// SPDX-License-Identifier: BSL-1.0
// Mistakes with units, each found inside the compiler for its own reason. Their traces are told
// word for word by test/exhaustive/units_at_run_time.cpp.
#include <tether/proof/proven_safe.hpp>

#include <support/unit_seeds.hpp>

#include <type_traits>

namespace tether::seeds {
namespace {

using proof::unit_property;

template <class Machinery, unit_property Broken, hold_kind Holds = hold_kind::uncoordinated>
constexpr bool found =
    proof::explored<unit_seed<Machinery, Holds>, proof::small_unit_scope, proof::bit(Broken)>.now.broken ==
    proof::bit(Broken);

static_assert(found<discards_before_it_unmaps, unit_property::mapped_and_gone>);
static_assert(found<answers_before_it_maps, unit_property::told_too_early>);
static_assert(found<leaves_it_unmapped, unit_property::told_too_early>);
static_assert(found<enrols_beside_a_populate, unit_property::told_too_early>);
static_assert(found<tells_beside_an_enrolment, unit_property::told_too_early>);
static_assert(found<enrols_twice, unit_property::forbidden_call>);
static_assert(found<undo_forgets_the_first, unit_property::told_too_early>);
static_assert(found<undoes_what_was_not_done, unit_property::needless_divergence>);
static_assert(found<populates_against_anothers_wish, unit_property::left_behind>);
static_assert(found<forgets_to_withdraw_what_is_discarded, unit_property::left_behind>);
static_assert(found<forgets_a_stuck_enrolment, unit_property::mapped_and_gone>);
static_assert(found<forgets_a_stuck_section, unit_property::mapped_and_gone>);
static_assert(found<forgets_a_stuck_unit, unit_property::mapped_and_gone>);
static_assert(found<gives_back_what_is_stuck, unit_property::mapped_and_gone>);
static_assert(found<gives_back_what_was_stuck, unit_property::mapped_and_gone>);
static_assert(found<diverged_lets_go, unit_property::mapped_and_gone>);
static_assert(found<never_ends_an_enrolment, unit_property::waits_for_ever>);
// Containers that map in blocks, and hold every discard down.
static_assert(found<unit_machinery, unit_property::needless_refusal, hold_kind::any>);
static_assert(
    std::is_same_v<proof::verdict_of<unit_seed<unit_machinery, hold_kind::any>>,
                   proof::counterexample<"needless refusal after: container 0: attach: begins; "
                                         "source 0: discard: is inhibited">>);
static_assert(!proven_safe<unit_seed<forgets_a_stuck_unit>>);

}  // namespace
}  // namespace tether::seeds
