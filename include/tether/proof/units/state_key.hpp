// SPDX-License-Identifier: BSL-1.0
// The canonical encoding of a state of the units' model: sources that differ in nothing but their
// number are sorted.
#pragma once

#include <tether/proof/search/state_key.hpp>
#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/state.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tether::proof {

/// A packed state.
template <class Scope>
struct unit_key {
  static constexpr unsigned of_container = 16;  ///< bits
  static constexpr unsigned of_source = 16;     ///< bits
  static constexpr unsigned shared = 9;         ///< bits of what all share
  /// Bits of the whole.
  static constexpr unsigned all =
      of_container * Scope::containers + of_source * Scope::sources + shared;
  /// A number that has so many bits.
  using code = std::conditional_t<(all <= 64), std::uint64_t, wide_code>;
  code word = 0;  ///< the state

  friend constexpr bool operator==(unit_key const&, unit_key const&) noexcept = default;

  /// Well mixed, for a table of a power of two.
  [[nodiscard]] constexpr std::uint64_t hash() const noexcept {
    std::uint64_t mixed = static_cast<std::uint64_t>(word) * 0x9e37'79b9'7f4a'7c15U;
    if constexpr (sizeof(code) > 8)
      mixed = (mixed ^ static_cast<std::uint64_t>(word >> 64U)) * 0xc2b2'ae3d'27d4'eb4fU;
    return mixed ^ (mixed >> 29U) ^ (mixed >> 47U);
  }
};

/// Packs states and unpacks them.
template <class Scope>
class unit_packer {
  using key_type = unit_key<Scope>;
  using code = typename key_type::code;

 public:
  /// Every field is as wide as its type, or counts at most what there is.
  static constexpr bool fits = true;

  /// Packs a state, symmetric ones alike.
  [[nodiscard]] static constexpr key_type pack(unit_world<Scope> const& here) noexcept {
    std::uint32_t users[Scope::sources]{};
    for (std::size_t i = 0; i < Scope::sources; ++i) users[i] = pack(here.sources[i]);
    if constexpr (Scope::sources > 1) detail::sort(users);
    code all = (here.present ? 1U : 0U) | (here.changing ? 2U : 0U) |
               (here.memory_there ? 4U : 0U) | (here.turns.open ? 8U : 0U) |
               (here.turns.telling & 3U) << 4U | (here.turns.enrolling & 3U) << 6U |
               (here.may_be_mapped ? 256U : 0U);
    unsigned at = key_type::shared;
    for (std::size_t i = 0; i < Scope::containers; ++i, at += key_type::of_container)
      all |= static_cast<code>(pack(here.containers[i])) << at;
    for (std::size_t i = 0; i < Scope::sources; ++i, at += key_type::of_source)
      all |= static_cast<code>(users[i]) << at;
    return {all};
  }
  /// The state that was packed, or a symmetric one.
  [[nodiscard]] static constexpr unit_world<Scope> unpack(key_type const& packed) noexcept {
    unit_world<Scope> here{};
    const auto own = static_cast<std::uint32_t>(packed.word);
    here.present = (own & 1U) != 0, here.changing = (own & 2U) != 0;
    here.memory_there = (own & 4U) != 0, here.may_be_mapped = (own & 256U) != 0;
    here.turns = {own >> 4U & 3U, own >> 6U & 3U, (own & 8U) != 0};
    unsigned at = key_type::shared;
    for (std::size_t i = 0; i < Scope::containers; ++i, at += key_type::of_container)
      unpack(static_cast<std::uint32_t>(packed.word >> at), here.containers[i]);
    for (std::size_t i = 0; i < Scope::sources; ++i, at += key_type::of_source)
      unpack(static_cast<std::uint32_t>(packed.word >> at), here.sources[i]);
    return here;
  }

 private:
  [[nodiscard]] static constexpr std::uint32_t pack(follower_state const& one) noexcept {
    return (one.mapped ? 1U : 0U) | (one.diverged ? 2U : 0U) | (one.followed ? 4U : 0U) |
           (one.changed ? 8U : 0U) | (one.locked ? 16U : 0U) | (one.reaches ? 32U : 0U) |
           (one.attached ? 64U : 0U) | (one.without ? 128U : 0U) | (one.touched ? 256U : 0U) |
           static_cast<std::uint32_t>(one.doing) << 9U |
           static_cast<std::uint32_t>(one.step) << 12U |
           static_cast<std::uint32_t>(one.ended) << 14U;
  }
  static constexpr void unpack(std::uint32_t bits, follower_state& one) noexcept {
    one.mapped = (bits & 1U) != 0, one.diverged = (bits & 2U) != 0;
    one.followed = (bits & 4U) != 0, one.changed = (bits & 8U) != 0;
    one.locked = (bits & 16U) != 0, one.reaches = (bits & 32U) != 0;
    one.attached = (bits & 64U) != 0, one.without = (bits & 128U) != 0;
    one.touched = (bits & 256U) != 0;
    one.doing = static_cast<follower_task>(bits >> 9U & 7U);
    one.step = static_cast<follower_step>(bits >> 12U & 3U);
    one.ended = static_cast<unit_outcome>(bits >> 14U & 3U);
  }
  [[nodiscard]] static constexpr std::uint32_t pack(user_state const& one) noexcept {
    return (one.wants ? 1U : 0U) | (one.gave ? 2U : 0U) | (one.telling ? 4U : 0U) |
           static_cast<std::uint32_t>(one.doing) << 3U |
           static_cast<std::uint32_t>(one.step) << 5U | std::uint32_t{one.at} << 9U |
           std::uint32_t{one.undo_before} << 11U | static_cast<std::uint32_t>(one.ended) << 13U;
  }
  static constexpr void unpack(std::uint32_t bits, user_state& one) noexcept {
    one.wants = (bits & 1U) != 0, one.gave = (bits & 2U) != 0, one.telling = (bits & 4U) != 0;
    one.doing = static_cast<source_task>(bits >> 3U & 3U);
    one.step = static_cast<unit_step>(bits >> 5U & 15U);
    one.at = static_cast<std::uint8_t>(bits >> 9U & 3U);
    one.undo_before = static_cast<std::uint8_t>(bits >> 11U & 3U);
    one.ended = static_cast<unit_outcome>(bits >> 13U & 3U);
  }
};

}  // namespace tether::proof
