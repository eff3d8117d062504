// SPDX-License-Identifier: BSL-1.0
// How many holds a policy needs, abstracted to ranks, which keeps the state small. One hold closes
// a gate as well as sixteen, and a container only compares what it has with what it needs; so each
// number that a policy gives within the model is replaced by its rank among them.
//
//     a policy's:   0   10   20        ranks:   0   1   2
#pragma once

#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/truth_table.hpp>
#include <tether/inhibit/membership.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// Distinct numbers in ascending order.
template <std::size_t Most>
struct ranking {
  std::uint32_t values[Most]{};  ///< the first `size` are there
  std::size_t size = 0;          ///< how many

  /// Adds a number, unless it is 0 or there.
  constexpr void add(std::uint32_t value) noexcept {
    std::size_t at = 0;
    while (at < size && values[at] < value) ++at;
    if (value == 0 || (at < size && values[at] == value)) return;
    for (std::size_t i = size; i > at; --i) values[i] = values[i - 1];
    values[at] = value;
    ++size;
  }
  /// The rank of a value: 0 for 0; a value that is not listed ranks with the next larger one.
  [[nodiscard]] constexpr std::uint32_t of(std::uint32_t value) const noexcept {
    if (value == 0) return 0;
    std::uint32_t at = 0;
    while (at < size && values[at] < value) ++at;
    return at + 1;
  }
};

/// The holds that `Policy` needs in a model of `Scope`. A policy whose answers are no constants is
/// called each time, and its numbers are used as they are.
template <class Policy, class Scope>
struct ranked {
  /// What the policy says.
  [[nodiscard]] static constexpr std::uint32_t holds(group_counts group) noexcept {
    return holds_needed<Policy>(group);
  }
  /// What the policy says.
  [[nodiscard]] static constexpr std::uint32_t holds(container_counts container) noexcept {
    return holds_needed<Policy>(container);
  }
};
/// The same of a policy whose answers are constants: ranks take the place of its numbers.
template <tether::detail::constant_rule Policy, class Scope>
struct ranked<Policy, Scope> {
  static constexpr std::size_t devices = Scope::devices;  ///< of a group
  static constexpr std::size_t groups = Scope::groups;    ///< of a container

  /// `group` is indexed by `consent_known`, `agreed` and `declined`; `container` by `members` and
  /// `need_no_hold`.
  struct table {
    ranking<2 * (devices + 1) * (devices + 1)> of_groups{};  ///< the numbers that a group can need
    /// The numbers that a container can need.
    ranking<(groups + 1) * (groups + 1)> of_containers{};
    std::uint32_t group[2][devices + 1][devices + 1]{};  ///< the rank of what a group needs
    std::uint32_t container[groups + 1][groups + 1]{};   ///< the rank of what a container needs
  };
  /// The table, made once.
  static constexpr table all = [] {
    table made{};
    // first every number is collected, then each is replaced by its rank
    for (const bool collected : {false, true}) {
      for (std::uint32_t agreed = 0; agreed <= devices; ++agreed) {
        for (std::uint32_t declined = 0; declined <= devices; ++declined) {
          for (const bool known : {false, true}) {
            const std::uint32_t needed =
                holds_needed<Policy>(group_counts{agreed, declined, true, known});
            if (collected) made.group[known ? 1 : 0][agreed][declined] = made.of_groups.of(needed);
            else if (agreed + declined <= devices && (known || agreed == 0))
              made.of_groups.add(needed);
          }
        }
      }
      for (std::uint32_t members = 0; members <= groups; ++members) {
        for (std::uint32_t need_no_hold = 0; need_no_hold <= groups; ++need_no_hold) {
          const std::uint32_t needed =
              need_no_hold <= members
                  ? holds_needed<Policy>(container_counts{members, need_no_hold})
                  : 0;
          if (collected) made.container[members][need_no_hold] = made.of_containers.of(needed);
          else made.of_containers.add(needed);
        }
      }
    }
    return made;
  }();

  /// The rank of what the policy says.
  [[nodiscard]] static constexpr std::uint32_t holds(group_counts group) noexcept {
    if (group.attached && group.agreed <= devices && group.declined <= devices) {
      return all.group[group.consent_known ? 1 : 0][group.agreed][group.declined];
    }
    return all.of_groups.of(holds_needed<Policy>(group));
  }
  /// The rank of what the policy says.
  [[nodiscard]] static constexpr std::uint32_t holds(container_counts container) noexcept {
    if (container.need_no_hold <= container.members && container.members <= groups)
      return all.container[container.members][container.need_no_hold];
    return all.of_containers.of(holds_needed<Policy>(container));
  }
};

}  // namespace tether::proof
