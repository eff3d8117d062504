// SPDX-License-Identifier: BSL-1.0
// Who excludes whom, row by row as QEMU's four calls have it since 2021, and each state beside it.
#include <tether/inhibit/kinds.hpp>

#include <array>
#include <cstddef>

namespace tether {
namespace {

/// One of each, alone.
constexpr std::array<gate_counts, 6> alone{gate_counts{},
                                           gate_counts{.any_holds = 1},
                                           gate_counts{.uncoordinated_holds = 1},
                                           gate_counts{.any_requirements = 1},
                                           gate_counts{.coordinated_requirements = 1},
                                           gate_counts{.suspensions = 1}};

/// What `alone` allows, in its order.
template <class Kind>
constexpr std::array<bool, 6> answers(Kind kind) {
  std::array<bool, 6> all{};
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = alone[i].allow(kind);
  return all;
}

// Columns: nothing, any hold, uncoordinated hold, any requirement, coordinated one, suspension.
static_assert(answers(hold_kind::any) == std::array<bool, 6>{true, true, true, false, false, true});
static_assert(answers(hold_kind::uncoordinated) ==
              std::array<bool, 6>{true, true, true, false, true, true});
static_assert(answers(requirement_kind::any) ==
              std::array<bool, 6>{true, false, false, true, true, true});
static_assert(answers(requirement_kind::coordinated) ==
              std::array<bool, 6>{true, false, true, true, true, true});
static_assert(answers(discard_kind::uncoordinated) ==
              std::array<bool, 6>{true, false, false, true, true, false});
static_assert(answers(discard_kind::coordinated) ==
              std::array<bool, 6>{true, false, true, true, true, false});

// States combine: what any of them forbids is forbidden.
constexpr bool combines() {
  for (auto const& a : alone) {
    for (auto const& b : alone) {
      const gate_counts both{
          a.any_holds + b.any_holds, a.uncoordinated_holds + b.uncoordinated_holds,
          a.any_requirements + b.any_requirements,
          a.coordinated_requirements + b.coordinated_requirements, a.suspensions + b.suspensions};
      const auto agrees = [&](auto kind) {
        return both.allow(kind) == (a.allow(kind) && b.allow(kind));
      };
      if (!agrees(hold_kind::any) || !agrees(hold_kind::uncoordinated) ||
          !agrees(requirement_kind::any) || !agrees(requirement_kind::coordinated) ||
          !agrees(discard_kind::uncoordinated) || !agrees(discard_kind::coordinated)) {
        return false;
      }
    }
  }
  return true;
}
static_assert(combines());

// The counts that the kinds name.
constexpr bool names_its_own() {
  gate_counts counts{};
  counts.of(hold_kind::any) = 1;
  counts.of(hold_kind::uncoordinated) = 2;
  counts.of(requirement_kind::any) = 3;
  counts.of(requirement_kind::coordinated) = 4;
  return counts == gate_counts{1, 2, 3, 4, 0};
}
static_assert(names_its_own());

}  // namespace
}  // namespace tether
