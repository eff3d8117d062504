// SPDX-License-Identifier: BSL-1.0
// What must hold of units after every event (laws 7 and 29), judged by the facts of the state.
#pragma once

#include <tether/proof/model/property.hpp>
#include <tether/proof/units/state.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tether::proof {

/// Each comment says when it is broken. If several are, the first of them is reported.
enum class unit_property : std::uint8_t {
  mapped_and_gone,   ///< a device reaches memory that is discarded
  told_too_early,    ///< the guest may use the unit, but a container lacks it, or it is not there
  needless_refusal,  ///< a source is refused although no container is at work
  forbidden_call,    ///< mapped twice, or unmapped without being mapped
  /// at rest a container that is not attached has something mapped or is told, one that is attached
  /// does not have what is there, or a source's wish is not what its guest was told
  left_behind,
  needless_divergence,  ///< a container diverges by the rollback of what it has not done
  waits_for_ever,       ///< somebody is at work, and nobody can go on (`transition.hpp`)
};
/// How many properties there are.
inline constexpr std::size_t unit_properties = 7;

/// The set of that property alone.
[[nodiscard]] constexpr broken_properties bit(unit_property which) noexcept {
  return 1U << static_cast<unsigned>(which);
}
/// What a counterexample says of it.
[[nodiscard]] constexpr std::string_view name_of(unit_property which) noexcept {
  constexpr std::array<std::string_view, unit_properties> names{
      "discarded memory is mapped", "the guest was told too early", "needless refusal",
      "the kernel must refuse",     "something left behind",        "needless divergence",
      "somebody waits for ever"};
  return names[static_cast<std::size_t>(which)];
}

namespace detail {

constexpr bool left_in(follower_state const& one, bool present) noexcept {
  if (one.locked || one.changed) return true;
  if (one.diverged) return one.reaches && !one.followed;
  const bool has_what_it_must = one.reaches == present || one.without;
  return one.attached ? !one.followed || one.mapped != one.reaches || !has_what_it_must
                      : one.followed || one.mapped || one.reaches;
}

}  // namespace detail

/// What is broken in a state.
template <class Scope>
[[nodiscard]] constexpr broken_properties broken_in_units(unit_world<Scope> const& here) noexcept {
  broken_properties all = 0;
  bool quiet = true;  // nobody is at work
  const bool used = here.guest_uses();
  if (used && !here.memory_there) all |= bit(unit_property::told_too_early);
  for (user_state const& one : here.sources) {
    quiet = quiet && one.doing == source_task::rest;
  }
  for (follower_state const& one : here.containers) {
    quiet = quiet && one.at_rest();
    if (one.reaches && !here.memory_there) all |= bit(unit_property::mapped_and_gone);
    const bool settled = one.at_rest() || one.doing == follower_task::work;
    if (used && settled && one.attached && !one.diverged && !one.without && !one.reaches)
      all |= bit(unit_property::told_too_early);
  }
  if (!quiet) return all;
  bool tidy = !here.changing && here.turns == tether::detail::telling_and_enrolling{} &&
              here.present == used;
  for (user_state const& one : here.sources) tidy = tidy && one.wants == one.gave;
  for (follower_state const& one : here.containers)
    tidy = tidy && !detail::left_in(one, here.present);
  return tidy ? all : all | bit(unit_property::left_behind);
}

}  // namespace tether::proof
