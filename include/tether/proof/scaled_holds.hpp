// SPDX-License-Identifier: BSL-1.0
// How many holds a policy needs, as a world counts them. A gate looks only at whether one number of holds is larger than another, and
// whether there are any; so where a policy counts in tens its answers are numbered in their order, and a world's few bits hold them.
#pragma once

#include <tether/inhibit/books.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/truth_table.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// Holds that a world can count for a group, or for a container, in 4 bits.
inline constexpr std::uint32_t most_holds_counted = 15;

/// A policy's answers in a world of `Scope`. Those of a policy that is no constant are taken as they are.
template <class Policy, class Scope>
class scaled_holds {
  static constexpr std::size_t books_of_groups = 4 * (Scope::devices + 1) * (Scope::devices + 1);
  static constexpr std::size_t books_of_containers = (Scope::groups + 1) * (Scope::groups + 1);

  /// Every answer once, in ascending order; the first is 0.
  template <std::size_t Most>
  struct answers {
    std::uint32_t each[Most + 1]{};
    std::size_t size = 1;

    constexpr void add(std::uint32_t holds) noexcept {
      std::size_t at = 0;
      while (at < size && each[at] < holds) ++at;
      if (at < size && each[at] == holds) return;
      for (std::size_t i = size; i > at; --i) each[i] = each[i - 1];
      each[at] = holds;
      ++size;
    }
    [[nodiscard]] constexpr bool fit() const noexcept { return each[size - 1] <= most_holds_counted; }
    [[nodiscard]] constexpr std::uint32_t place_of(std::uint32_t holds) const noexcept {
      std::uint32_t at = 0;
      while (at < size && each[at] != holds) ++at;
      return at;
    }
  };

  static constexpr auto found_for_groups() noexcept {
    answers<books_of_groups> all{};
    for (std::uint32_t agreed = 0; agreed <= Scope::devices; ++agreed) {
      for (std::uint32_t others = 0; agreed + others <= Scope::devices; ++others) {
        for (const bool attached : {false, true}) {
          for (const bool known : {false, true}) all.add(holds_needed<Policy>(group_tally{agreed, others, attached, known}));
        }
      }
    }
    return all;
  }
  static constexpr auto found_for_containers() noexcept {
    answers<books_of_containers> all{};
    for (std::uint32_t members = 0; members <= Scope::groups; ++members) {
      for (std::uint32_t settled = 0; settled <= members; ++settled) all.add(holds_needed<Policy>(container_tally{members, settled}));
    }
    return all;
  }

 public:
  [[nodiscard]] static constexpr std::uint32_t needed(group_tally group) noexcept {
    if constexpr (constant_rule<Policy> && holds_for_a_group<Policy>) {
      constexpr auto all = found_for_groups();
      if constexpr (!all.fit()) return all.place_of(holds_needed<Policy>(group));
    }
    return holds_needed<Policy>(group);
  }
  [[nodiscard]] static constexpr std::uint32_t needed(container_tally container) noexcept {
    if constexpr (constant_rule<Policy> && holds_for_a_container<Policy>) {
      constexpr auto all = found_for_containers();
      if constexpr (!all.fit()) return all.place_of(holds_needed<Policy>(container));
    }
    return holds_needed<Policy>(container);
  }
};

}  // namespace tether::proof
