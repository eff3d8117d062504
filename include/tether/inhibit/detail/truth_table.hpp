// SPDX-License-Identifier: BSL-1.0
// A policy is a pure function of a few counts, so it can be evaluated for far larger counts than a
// proof's state space has: what a proof shows for two groups and two devices holds for thousands if
// the rule treats many as it treats few. Evaluated at compile time, and once more at run time: a
// rule whose answers differ there is not the one that was proven.
//
//     others    0   1   2  |  3 .. 16, then each power of two and its neighbours
//     holds     0   1   2  |  as many as it likes, but none exactly where the first three say so
//               the proof  |  here
#pragma once

#include <tether/core/stop.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/membership.hpp>

#include <cstdint>
#include <limits>
#include <type_traits>

namespace tether::detail {

/// What is wrong with a rule.
enum class rule_fault : std::uint8_t {
  none,
  holds_for_nothing,  ///< it needs a hold where nothing is attached
  /// a close or a detach needs more holds than before, or leads to counts that it does not admit
  more_after_a_close,
  /// it needs a hold for many groups or devices and none for few, or admits many and not few; or
  /// the other way round
  many_unlike_few,
  /// a few devices need so many holds that the sum over many groups could overflow
  too_many,
};

/// Up to here every combination is evaluated; beyond it powers of two and their neighbours.
inline constexpr std::uint32_t every_count = 16;
/// The most holds for one group, or container, of up to `every_count` devices, or groups.
inline constexpr std::uint32_t most_holds = 65'535;

/// The count that stands for this one in the proof's small world (proof/model/abstraction.hpp: two
/// groups, two devices). `beside`: the other count of the pair.
constexpr std::uint32_t few(std::uint32_t count, std::uint32_t beside) noexcept {
  return count == 0 ? 0 : count == 1 || beside != 0 ? 1 : 2;
}

/// Evaluates a rule of two counts, both of which can only fall when something closes or detaches.
/// `Rule`: `holds(one, other)` and `admits(one, other)`. Plain loops over plain numbers: every call
/// costs compile time.
template <class Rule>
struct interrogation {
  rule_fault fault = rule_fault::none;
  std::uint64_t answers = 0;  ///< a hash of all of them
  std::uint32_t holds_for_few[3][3]{};
  bool admits_few[3][3]{};

  /// The answer for the next smaller count that was evaluated.
  struct less {
    std::uint32_t holds = 0;
    bool admitted = true;
  };

  constexpr void blame(rule_fault what) noexcept {
    if (fault == rule_fault::none) fault = what;
  }
  constexpr void ask_about(std::uint32_t one, std::uint32_t other, less& along_one,
                           less& along_other) noexcept {
    const std::uint32_t largest = one > other ? one : other;
    const std::uint32_t few_of_one = few(one, other);
    const std::uint32_t few_of_other = few(other, one);
    const std::uint32_t as_few = holds_for_few[few_of_one][few_of_other];
    // Holds that 32 bits cannot count are never needed: no host has memory for that many devices.
    if (largest > every_count &&
        std::uint64_t{largest} * as_few > std::numeric_limits<std::uint32_t>::max())
      return;
    const bool admitted = Rule::admits(one, other);
    const std::uint32_t holds = admitted ? Rule::holds(one, other) : 0;
    answers =
        (answers ^ ((std::uint64_t{holds} << 1U) + (admitted ? 1 : 0))) * 0x9e37'79b9'7f4a'7c15U;
    answers ^= answers >> 29U;
    if (admitted) {
      if ((holds != 0) != (as_few != 0) || !admits_few[few_of_one][few_of_other])
        blame(rule_fault::many_unlike_few);
      if (holds > most_holds && largest <= every_count) blame(rule_fault::too_many);
      if (!along_one.admitted || along_one.holds > holds || !along_other.admitted ||
          along_other.holds > holds) {
        blame(rule_fault::more_after_a_close);
      }
    }
    along_one = along_other = {holds, admitted};
  }
  /// `One`: whether the first count varies; otherwise it is 0.
  template <bool One>
  constexpr void ask_everything() noexcept {
    for (std::uint32_t one = 0; one <= (One ? 2U : 0U); ++one) {
      for (std::uint32_t other = 0; other <= 2; ++other) {
        holds_for_few[one][other] = Rule::holds(one, other);
        admits_few[one][other] = Rule::admits(one, other);
      }
    }
    less columns[every_count + 1]{};
    for (std::uint32_t one = 0; one <= (One ? every_count : 0); ++one) {
      less row{};
      for (std::uint32_t other = 0; other <= every_count; ++other)
        ask_about(one, other, columns[other], row);
    }
    less alone{};
    less beside_one{};
    less first_alone{};
    less first_beside_one{};
    less both{};
    for (std::uint32_t power = 2 * every_count; power != 0; power *= 2) {
      for (const std::uint32_t large : {power - 1, power, power + 1}) {
        ask_about(0, large, alone, alone);
        if constexpr (One) ask_about(large, 0, first_alone, first_alone);
      }
      if constexpr (One) {
        ask_about(1, power, beside_one, beside_one);
        ask_about(power, 1, first_beside_one, first_beside_one);
        ask_about(power / 2, power / 2, both, both);
      }
    }
  }
};

/// Rule for an attached group: devices that agreed, and others. `Known`: as `group_counts::known`.
template <class Policy, bool Known>
struct rule_for_groups {
  static constexpr std::uint32_t holds(std::uint32_t agreed, std::uint32_t others) noexcept {
    return holds_needed<Policy>(group_counts{agreed, others, true, Known});
  }
  static constexpr bool admits(std::uint32_t agreed, std::uint32_t others) noexcept {
    return admitted<Policy>(group_counts{agreed, others, true, Known});
  }
};
/// Rule for a container: groups that are not settled, and groups that are.
template <class Policy>
struct rule_for_containers {
  static constexpr std::uint32_t holds(std::uint32_t pending, std::uint32_t settled) noexcept {
    return holds_needed<Policy>(container_counts{pending + settled, settled});
  }
  static constexpr bool admits(std::uint32_t, std::uint32_t) noexcept { return true; }
};

/// A hash of all answers, with the fault in its lowest three bits.
template <inhibition Policy>
constexpr std::uint64_t examine() noexcept {
  rule_fault fault = rule_fault::none;
  std::uint64_t answers = 0;
  const auto ask = [&]<bool First>(auto rule, std::bool_constant<First>) {
    rule.template ask_everything<First>();
    if (fault == rule_fault::none) fault = rule.fault;
    answers = (answers ^ rule.answers) * 0x9e37'79b9'7f4a'7c15U;
  };
  if (holds_needed<Policy>(group_counts{}) != 0 || holds_needed<Policy>(container_counts{}) != 0)
    fault = rule_fault::holds_for_nothing;
  if constexpr (holds_for_a_group<Policy> || admits_some<Policy>) {
    ask(interrogation<rule_for_groups<Policy, true>>{}, std::true_type{});
    // nobody has agreed yet
    ask(interrogation<rule_for_groups<Policy, false>>{}, std::false_type{});
  }
  if constexpr (holds_for_a_container<Policy>) {
    ask(interrogation<rule_for_containers<Policy>>{}, std::true_type{});
    for (std::uint32_t members = 1; members <= every_count; ++members) {
      // one more settles
      for (std::uint32_t settled = 0; settled < 2 && settled < members; ++settled) {
        const bool more = holds_needed<Policy>(container_counts{members, settled + 1}) >
                          holds_needed<Policy>(container_counts{members, settled});
        if (more && fault == rule_fault::none) fault = rule_fault::more_after_a_close;
      }
    }
  }
  return (answers << 3U) | static_cast<std::uint64_t>(fault);
}

// Evaluated by the compiler once per policy: here. `void` where that is no constant expression.
template <class Policy>
std::integral_constant<std::uint64_t, examine<Policy>()> examined_by(int);
template <class Policy>
void examined_by(...);
template <class Policy>
struct examined {
  using type = decltype(examined_by<Policy>(0));
};

/// Whether a policy's answers are constant expressions: it reads nothing but its argument, and is
/// evaluated only when counts change.
template <class P>
concept constant_rule = inhibition<P> && !std::is_void_v<typename examined<P>::type>;

/// What is wrong with a policy's rule.
template <constant_rule Policy>
inline constexpr rule_fault fault_of = static_cast<rule_fault>(examined<Policy>::type::value & 7U);

/// A constant rule that treats many as few: what is proven of it in a small world holds in every
/// larger one.
template <class P>
concept sound_rule = constant_rule<P> && fault_of<P> == rule_fault::none;

/// Neither constexpr nor called in a constant expression: there, a rule that asks
/// `std::is_constant_evaluated` would just repeat its compile-time answers.
template <constant_rule Policy>
[[gnu::cold, gnu::noinline]] bool examine_again() noexcept {
  std::uint64_t now = 0;
  now = examine<Policy>();
  if (now != examined<Policy>::type::value) {
    stop(
        "tether[I16]: an inhibition policy answers otherwise in the program than inside the "
        "compiler, where it was checked: it may read "
        "nothing but its argument, and not ask where it is evaluated");
  }
  return true;
}
/// Evaluates a rule once per run of the program, and stops the program if the answers differ from
/// those at compile time.
template <constant_rule Policy>
void examine_at_run_time() noexcept {
  static const bool the_same = examine_again<Policy>();
  static_cast<void>(the_same);
}

}  // namespace tether::detail
