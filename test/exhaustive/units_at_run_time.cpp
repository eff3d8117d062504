// SPDX-License-Identifier: BSL-1.0
// The proof of coordinated discards in worlds that are too large for a compiler, and step by step:
// so it is shown that what the compiler merges loses nothing. And the way to each seeded mistake.
#include <tether/proof/search/at_run_time.hpp>

#include <support/unit_seeds.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdio>
#include <string>

namespace exhaustive_units_at_run_time {

using namespace tether;
using namespace tether::proof;
using namespace tether::seeds;

namespace {

template <std::size_t Containers, std::size_t Sources>
void prove() {
  using stepwise = unit_scope<Containers, Sources>;
  const auto found = search<unit_abstraction<>, stepwise>();
  CHECK(found.safe());
  CHECK(std::string{found.description().view()} == "");
  CHECK(std::string{describe_trace(found.reached.lacks(demanded_of_units<stepwise>())).view()} ==
        "");
  const auto merged =
      search<unit_abstraction<>, unit_scope<Containers, Sources, unit_steps::merged>>();
  CHECK(merged.safe());
  CHECK((merged.reached.tasks == found.reached.tasks));
  CHECK(merged.states < found.states);
  std::printf(
      "figures: proof of units, %zu containers, %zu sources: %llu states, %llu transitions, "
      "nothing "
      "wrong\n",
      Containers, Sources, static_cast<unsigned long long>(found.states),
      static_cast<unsigned long long>(found.transitions));
}

/// A seed is found step by step and merged, and the way there is told word for word.
template <class Machinery, unit_property Broken>
void found(std::string const& after) {
  constexpr broken_properties set = bit(Broken);
  const auto one = search<unit_seed<Machinery>, unit_scope<2, 2>, set>();
  CHECK(std::string{one.description().view()} == std::string{name_of(Broken)} + " after: " + after);
  CHECK(search<unit_seed<Machinery>, small_unit_scope, set>().broken == set);
}

const std::string attached =
    "container 0: attach: begins; container 0: attach: opens enrolment; container 0: attach: maps; "
    "container 0: attach: ends; ";
const std::string discarding =
    "source 0: discard: begins; source 0: discard: enters; source 0: discard: locks; ";
const std::string discarded =
    "source 0: discard: discards the memory; source 0: discard: settles; ";
/// A container is attached while the unit is discarded.
const std::string attached_without =
    "source 0: discard: begins; source 0: discard: enters; container 0: attach: begins; source 0: "
    "discard: locks; source 0: discard: discards the memory; source 0: discard: settles; "
    "container 0: attach: opens enrolment; container 0: attach: ends; ";
const std::string populating =
    "source 0: populate: begins; source 0: populate: brings the memory in; source 0: populate: "
    "enters; source 0: populate: locks; ";

}  // namespace

TEST_CASE("up to three containers follow a unit that up to three sources discard and populate") {
  prove<1, 1>();
  prove<2, 1>();
  prove<2, 2>();
  prove<3, 2>();
  prove<3, 3>();
}

TEST_CASE("each mistake is found for its own reason") {
  found<discards_before_it_unmaps, unit_property::mapped_and_gone>(
      attached + discarding + "source 0: discard: discards the memory");
  found<answers_before_it_maps, unit_property::told_too_early>(attached_without + populating +
                                                               "source 0: populate: settles");
  found<leaves_it_unmapped, unit_property::told_too_early>(
      attached + discarding +
      "source 0: discard: container 0 unmaps; source 0: discard: discards the memory, fails");
  found<enrols_beside_a_populate, unit_property::told_too_early>(
      discarding + discarded +
      "source 0: fence: begins; source 0: fence: brings the memory in; source 0: fence: enters; "
      "container 0: attach: begins; container 0: attach: opens enrolment; container 0: attach: "
      "ends; source 0: fence: settles");
  found<tells_beside_an_enrolment, unit_property::told_too_early>(
      "container 0: attach: begins; " + discarding + discarded +
      "container 0: attach: opens enrolment; source 0: fence: begins; source 0: fence: brings the "
      "memory in; source 0: fence: enters; container 0: attach: ends; source 0: fence: settles");
  found<enrols_twice, unit_property::forbidden_call>(
      attached + "container 1: attach: begins; " + discarding +
      "container 1: attach: opens enrolment; container 1: attach: maps; container 1: attach: ends; "
      "container 1: detach: begins; container 1: detach: opens enrolment; source 0: discard: "
      "container 0 unmaps; container 1: detach: unmaps; source 0: discard: container 1 unmaps");
  found<undo_forgets_the_first, unit_property::told_too_early>(
      attached + discarding +
      "source 0: discard: container 0 unmaps; source 0: discard: discards the memory, fails");
  found<undoes_what_was_not_done, unit_property::needless_divergence>(
      attached + discarding +
      "source 0: discard: container 0 unmaps; source 0: discard: discards the memory, fails; "
      "source 0: discard: container 0 maps again, fails; " +
      discarding +
      "source 0: discard: discards the memory, fails; source 0: discard: container 0 maps again, "
      "fails");
  found<populates_against_anothers_wish, unit_property::left_behind>(
      discarding + discarded +
      "source 1: discard: agrees; source 0: fence: begins; source 0: fence: brings the memory in; "
      "source 0: fence: enters; source 0: fence: settles");
  found<forgets_to_withdraw_what_is_discarded, unit_property::left_behind>(
      attached_without +
      "container 0: detach: begins; container 0: detach: opens enrolment; container 0: detach: "
      "ends");
  const std::string stuck =
      "container 0: attach: begins; container 0: attach: opens enrolment; container 0: attach: "
      "maps, gets stuck; container 0: attach: ends; ";
  const std::string then_discarded = discarding + "source 0: discard: discards the memory";
  found<forgets_a_stuck_enrolment, unit_property::mapped_and_gone>(stuck + then_discarded);
  found<forgets_a_stuck_section, unit_property::mapped_and_gone>(
      attached +
      "container 0: detach: begins; container 0: detach: opens enrolment; container 0: detach: "
      "unmaps, gets stuck; container 0: detach: ends; " +
      then_discarded);
  found<forgets_a_stuck_unit, unit_property::mapped_and_gone>(stuck + then_discarded);
  found<diverged_lets_go, unit_property::mapped_and_gone>(stuck + then_discarded);
  const std::string half_back =
      attached_without + populating + "source 0: populate: container 0 maps, gets stuck; ";
  found<gives_back_what_is_stuck, unit_property::mapped_and_gone>(
      half_back + "source 0: populate: discards it again");
  found<gives_back_what_was_stuck, unit_property::mapped_and_gone>(
      half_back +
      "source 0: populate: begins; source 0: populate: brings the memory in, fails; source 0: "
      "populate: discards it again");
  found<never_ends_an_enrolment, unit_property::waits_for_ever>(
      "container 0: attach: begins; container 0: rest: waits");
}

}  // namespace exhaustive_units_at_run_time
