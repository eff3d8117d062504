// SPDX-License-Identifier: BSL-1.0
// Two policies as a user could write them: small structs, treated like tether's own. They are held
// to the same laws: `test/laws/custom_policy.cpp` names them there, and that is all it takes.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/core/slots.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/membership.hpp>

#include <algorithm>
#include <cstdint>

namespace custom {

/// Each unsettled group inhibits the balloon, once for itself and once more for each of its open
/// devices that did not agree. Discards are inhibited exactly as long as with `inhibit_per_group`,
/// but a list of the gate's holders shows how many devices still stand in the way.
struct inhibit_and_count {
  using slot = tether::inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 + group.declined : 0;
  }
  /// A group with mixed consent is refused.
  [[nodiscard]] static constexpr bool admits(tether::group_counts group) noexcept {
    return group.agreed == 0 || group.declined == 0;
  }
};

/// How a section is cut: between the memory modules of a guest, so that pulling one of them out
/// cuts no mapping in two. Unlike a block's, a module's size need be no power of two, only whole
/// pages.
template <std::uint64_t ModuleSize>
struct one_for_each_module {
  static_assert(ModuleSize > 0 && ModuleSize % (64 * tether::KiB) == 0,
                "a module is whole pages of every host");

  using slot = tether::granularity_slot;
  // no uniform blocks: no coordinated discard goes on while this is pinned
  static constexpr std::uint64_t block_size = 0;

  [[nodiscard]] static constexpr std::uint64_t first_piece(tether::mapping const& rest,
                                                           tether::block_offset offset,
                                                           tether::page_sizes) noexcept {
    return std::min(rest.where.size(), ModuleSize - offset.value % ModuleSize);
  }
  [[nodiscard]] static constexpr std::uint64_t pieces(tether::mapping const& rest,
                                                      tether::block_offset offset,
                                                      tether::page_sizes) noexcept {
    return (offset.value + (rest.where.size() - 1)) / ModuleSize - offset.value / ModuleSize + 1;
  }
};

static_assert(tether::inhibition<inhibit_and_count>);
static_assert(tether::granularity<one_for_each_module<3 * tether::MiB>>);

}  // namespace custom
