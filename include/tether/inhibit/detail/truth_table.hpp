// SPDX-License-Identifier: BSL-1.0
// A policy is a pure function of a few counts, so it can be evaluated for far larger counts than a
// proof's state space has: what a proof shows for two groups and two devices holds for thousands if
// the rule treats many as it treats few. Evaluated at compile time, and once more at run time: a
// rule whose answers differ there is not the one that was proven.
//
//     count     0   1   2  |  3 .. 16, then each power of two and its neighbours
//     holds     0   1   2  |  any number, but 0 exactly where the count in the model has 0
//               the proof  |  here
#pragma once

#include <tether/core/stop.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/membership.hpp>

#include <cstdint>
#include <initializer_list>
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

/// The count that stands for this one in the proof's model of two groups and two devices
/// (`small_scope`). `beside`: the other count of the pair.
constexpr std::uint32_t count_in_model(std::uint32_t count, std::uint32_t beside) noexcept {
  return count == 0 ? 0 : count == 1 || beside != 0 ? 1 : 2;
}

/// Evaluates a rule of two counts, both of which can only fall when something closes or detaches.
/// `Rule`: `holds(one, other)` and `admits(one, other)`. Plain loops over plain numbers: every call
/// costs compile time.
template <class Rule>
struct rule_check {
  rule_fault fault = rule_fault::none;
  std::uint64_t answers = 0;  ///< a hash of all of them
  std::uint32_t holds_in_model[3][3]{};
  bool admits_in_model[3][3]{};

  /// The answer for the next smaller count that was evaluated.
  struct smaller {
    std::uint32_t holds = 0;
    bool admitted = true;
  };

  constexpr void note(rule_fault what) noexcept {
    if (fault == rule_fault::none) fault = what;
  }
  constexpr void check(std::uint32_t one, std::uint32_t other, smaller& along_one,
                       smaller& along_other) noexcept {
    const std::uint32_t largest = one > other ? one : other;
    const std::uint32_t model_one = count_in_model(one, other);
    const std::uint32_t model_other = count_in_model(other, one);
    const std::uint32_t model_holds = holds_in_model[model_one][model_other];
    // Holds that 32 bits cannot count are never needed: no host has memory for that many devices.
    if (largest > every_count &&
        std::uint64_t{largest} * model_holds > std::numeric_limits<std::uint32_t>::max())
      return;
    const bool admitted = Rule::admits(one, other);
    const std::uint32_t holds = admitted ? Rule::holds(one, other) : 0;
    answers =
        (answers ^ ((std::uint64_t{holds} << 1U) + (admitted ? 1 : 0))) * 0x9e37'79b9'7f4a'7c15U;
    answers ^= answers >> 29U;
    if (admitted) {
      if ((holds != 0) != (model_holds != 0) || !admits_in_model[model_one][model_other])
        note(rule_fault::many_unlike_few);
      if (holds > most_holds && largest <= every_count) note(rule_fault::too_many);
      if (!along_one.admitted || along_one.holds > holds || !along_other.admitted ||
          along_other.holds > holds) {
        note(rule_fault::more_after_a_close);
      }
    }
    along_one = along_other = {holds, admitted};
  }
  /// `One`: whether the first count varies; otherwise it is 0.
  template <bool One>
  constexpr void check_all() noexcept {
    for (std::uint32_t one = 0; one <= (One ? 2U : 0U); ++one) {
      for (std::uint32_t other = 0; other <= 2; ++other) {
        holds_in_model[one][other] = Rule::holds(one, other);
        admits_in_model[one][other] = Rule::admits(one, other);
      }
    }
    smaller columns[every_count + 1]{};
    for (std::uint32_t one = 0; one <= (One ? every_count : 0); ++one) {
      smaller row{};
      for (std::uint32_t other = 0; other <= every_count; ++other)
        check(one, other, columns[other], row);
    }
    smaller alone{};
    smaller beside_one{};
    smaller first_alone{};
    smaller first_beside_one{};
    smaller both{};
    for (std::uint32_t power = 2 * every_count; power != 0; power *= 2) {
      for (const std::uint32_t large : {power - 1, power, power + 1}) {
        check(0, large, alone, alone);
        if constexpr (One) check(large, 0, first_alone, first_alone);
      }
      if constexpr (One) {
        check(1, power, beside_one, beside_one);
        check(power, 1, first_beside_one, first_beside_one);
        check(power / 2, power / 2, both, both);
      }
    }
  }
};

/// Rule for an attached group: devices that agreed, and that declined. `ConsentKnown`: as
/// `group_counts::consent_known`.
template <class Policy, bool ConsentKnown>
struct rule_for_groups {
  static constexpr std::uint32_t holds(std::uint32_t agreed, std::uint32_t declined) noexcept {
    return holds_needed<Policy>(group_counts{agreed, declined, true, ConsentKnown});
  }
  static constexpr bool admits(std::uint32_t agreed, std::uint32_t declined) noexcept {
    return admitted<Policy>(group_counts{agreed, declined, true, ConsentKnown});
  }
};
/// Rule for a container: groups that need a hold, and groups that need none.
template <class Policy>
struct rule_for_containers {
  static constexpr std::uint32_t holds(std::uint32_t need_one, std::uint32_t need_none) noexcept {
    return holds_needed<Policy>(container_counts{need_one + need_none, need_none});
  }
  static constexpr bool admits(std::uint32_t, std::uint32_t) noexcept { return true; }
};

/// Evaluates a policy: a hash of all answers, with the fault in its lowest three bits.
template <inhibition Policy>
constexpr std::uint64_t evaluate() noexcept {
  rule_fault fault = rule_fault::none;
  std::uint64_t answers = 0;
  const auto check = [&]<bool First>(auto rule, std::bool_constant<First>) {
    rule.template check_all<First>();
    if (fault == rule_fault::none) fault = rule.fault;
    answers = (answers ^ rule.answers) * 0x9e37'79b9'7f4a'7c15U;
  };
  if (holds_needed<Policy>(group_counts{}) != 0 || holds_needed<Policy>(container_counts{}) != 0)
    fault = rule_fault::holds_for_nothing;
  if constexpr (holds_for_a_group<Policy> || admits_some<Policy>) {
    check(rule_check<rule_for_groups<Policy, true>>{}, std::true_type{});
    // nobody has agreed yet
    check(rule_check<rule_for_groups<Policy, false>>{}, std::false_type{});
  }
  if constexpr (holds_for_a_container<Policy>) {
    check(rule_check<rule_for_containers<Policy>>{}, std::true_type{});
    for (std::uint32_t members = 1; members <= every_count; ++members) {
      // one more group needs no hold, as after a close
      for (std::uint32_t none = 0; none < 2 && none < members; ++none) {
        const bool more = holds_needed<Policy>(container_counts{members, none + 1}) >
                          holds_needed<Policy>(container_counts{members, none});
        if (more && fault == rule_fault::none) fault = rule_fault::more_after_a_close;
      }
    }
  }
  return (answers << 3U) | static_cast<std::uint64_t>(fault);
}

// Evaluated by the compiler once per policy: here. `void` where that is no constant expression.
template <class Policy>
std::integral_constant<std::uint64_t, evaluate<Policy>()> evaluated_by(int);
template <class Policy>
void evaluated_by(...);
template <class Policy>
struct evaluated {
  using type = decltype(evaluated_by<Policy>(0));
};

/// Whether a policy's answers are constant expressions: it reads nothing but its argument, and is
/// evaluated only when counts change.
template <class P>
concept constant_rule = inhibition<P> && !std::is_void_v<typename evaluated<P>::type>;

/// What is wrong with a policy's rule.
template <constant_rule Policy>
inline constexpr rule_fault fault_of = static_cast<rule_fault>(evaluated<Policy>::type::value & 7U);

/// A constant rule that treats many as few: what is proven of it in a small model holds in every
/// larger one.
template <class P>
concept sound_rule = constant_rule<P> && fault_of<P> == rule_fault::none;

/// Stops the program if the answers differ from those at compile time. Neither constexpr nor called
/// in a constant expression: there, a rule that asks `std::is_constant_evaluated` would just repeat
/// its compile-time answers.
template <constant_rule Policy>
[[gnu::cold, gnu::noinline]] bool same_at_run_time() noexcept {
  std::uint64_t now = 0;
  now = evaluate<Policy>();  // assigned, because an initialiser may be a constant expression
  if (now != evaluated<Policy>::type::value) {
    stop(
        "tether[I16]: an inhibition policy answers otherwise in the program than inside the "
        "compiler, where it was checked: it may read "
        "nothing but its argument, and not ask where it is evaluated");
  }
  return true;
}
/// The same, once per run of the program.
template <constant_rule Policy>
void check_at_run_time() noexcept {
  static const bool the_same = same_at_run_time<Policy>();
  static_cast<void>(the_same);
}

}  // namespace tether::detail
