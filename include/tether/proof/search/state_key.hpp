// SPDX-License-Identifier: BSL-1.0
// The canonical encoding of a state: one integer for each container. States that differ only in the
// order of groups or containers (symmetry reduction), or in what can make no difference any more,
// have the same encoding, by which visited states are recognised.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/state.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tether::proof {

/// For states of more than 64 bits.
__extension__ using wide_code = unsigned __int128;

/// The width of each field in bits; what does not fit is reported, never truncated silently.
template <class Scope>
struct key_layout {
  static constexpr unsigned count = std::bit_width(Scope::devices);  ///< bits of a count of devices
  static constexpr unsigned held = 4;                                ///< bits of a number of holds
  // active, attached, consent_known, joined, in_kvm, acquired, mediated
  static constexpr unsigned group = 7 + 4 * count + held;  ///< bits of a group
  // operation, index, four flags, page, holds, the operation's device
  /// Bits of a container without its groups.
  static constexpr unsigned container = 3 + 3 + 4 + 2 + held + 4;
  static constexpr unsigned shared = 3;  ///< bits of what all share
  /// Bits of a container with its groups, and what all share.
  static constexpr unsigned all = container + group * Scope::groups + shared;
  static_assert(plan::most <= 8 && operations <= 8 && all <= 128,
                "this scope is too large to be packed");

  /// A number that has so many bits.
  using code = std::conditional_t<(all <= 64), std::uint64_t, wide_code>;
};

/// A packed state.
template <class Scope>
struct key {
  using code = typename key_layout<Scope>::code;  ///< of one container
  code words[Scope::containers]{};                ///< of all containers

  friend constexpr bool operator==(key const& one, key const& other) noexcept {
    for (std::size_t i = 0; i < Scope::containers; ++i) {
      if (one.words[i] != other.words[i]) return false;
    }
    return true;
  }
  /// Well mixed, for a table of a power of two.
  [[nodiscard]] constexpr std::uint64_t hash() const noexcept {
    std::uint64_t mixed = 0;
    for (const code word : words) {
      mixed = (mixed ^ static_cast<std::uint64_t>(word)) * 0x9e37'79b9'7f4a'7c15U;
      if constexpr (sizeof(code) > 8)
        mixed = (mixed ^ static_cast<std::uint64_t>(word >> 64U)) * 0xc2b2'ae3d'27d4'eb4fU;
      mixed ^= mixed >> 29U;
    }
    return mixed;
  }
};

namespace detail {

template <class Code, std::size_t Size>
constexpr void sort(Code (&codes)[Size]) noexcept {
  for (std::size_t i = 1; i < Size; ++i) {
    for (std::size_t j = i; j > 0 && codes[j] < codes[j - 1]; --j) {
      const Code larger = codes[j - 1];
      codes[j - 1] = codes[j];
      codes[j] = larger;
    }
  }
}

}  // namespace detail

/// Packs and unpacks states. `fits` is false once a count was too large for its field.
template <class Scope>
class packer {
  using layout = key_layout<Scope>;
  using code = typename layout::code;
  static constexpr unsigned c = layout::count;
  static constexpr std::uint32_t most = (1U << c) - 1;
  static constexpr std::uint32_t most_held = (1U << layout::held) - 1;

 public:
  bool fits = true;  ///< whether every number fitted its bits

  /// Packs a state, symmetric ones alike.
  [[nodiscard]] constexpr key<Scope> pack(world<Scope> const& here) noexcept {
    key<Scope> packed{};
    for (std::size_t i = 0; i < Scope::containers; ++i) {
      container_state<Scope> const& container = here.containers[i];
      packed.words[i] = container.diverged ? pack_diverged(container) : pack(container);
    }
    if constexpr (Scope::containers > 1) detail::sort(packed.words);
    const auto shared = static_cast<code>((here.absent ? 1U : 0U) | (here.permit ? 2U : 0U) |
                                          (here.leaked ? 4U : 0U));
    packed.words[0] |= shared << (layout::all - layout::shared);
    return packed;
  }

  /// The state that was packed, or a symmetric one.
  [[nodiscard]] static constexpr world<Scope> unpack(key<Scope> const& packed) noexcept {
    world<Scope> here{};
    const auto shared =
        static_cast<std::uint32_t>(packed.words[0] >> (layout::all - layout::shared));
    here.absent = (shared & 1U) != 0, here.permit = (shared & 2U) != 0,
    here.leaked = (shared & 4U) != 0;
    for (std::size_t i = 0; i < Scope::containers; ++i) unpack(packed.words[i], here.containers[i]);
    return here;
  }

 private:
  /// A diverged container runs no more operations: all that matters of it is its pin, and whether
  /// it has holds.
  [[nodiscard]] static constexpr code pack_diverged(
      container_state<Scope> const& container) noexcept {
    std::uint32_t held = container.held;
    for (group_state const& group : container.groups) held += group.held;
    const bool pinned = container.page == page_relation::pinned_same ||
                        container.page == page_relation::pinned_other;
    return 1U << 8U | (pinned ? static_cast<std::uint32_t>(container.page) << 10U : 0U) |
           (held != 0 ? 1U << 12U : 0U);
  }

  [[nodiscard]] constexpr code pack(container_state<Scope> const& container) noexcept {
    code groups[Scope::groups]{};
    for (std::size_t i = 0; i < Scope::groups; ++i)
      groups[i] = pack(container.groups[i], i == container.active);
    if constexpr (Scope::groups > 1) detail::sort(groups);
    fits = fits && container.held <= most_held;
    code packed = static_cast<code>(
        static_cast<std::uint32_t>(container.at.in) | std::uint32_t{container.at.index} << 3U |
        (container.at.backward ? 1U << 6U : 0U) |
        (container.agrees == consent::given ? 1U << 7U : 0U) |
        (container.diverged ? 1U << 8U : 0U) | (container.replay_will_fail ? 1U << 9U : 0U) |
        static_cast<std::uint32_t>(container.page) << 10U | (container.held & most_held) << 12U |
        (container.device.open ? 1U << 16U : 0U) | (container.device.bound ? 1U << 17U : 0U) |
        (container.device.joined ? 1U << 18U : 0U) | (container.device.in_kvm ? 1U << 19U : 0U));
    static_assert(layout::container == 20);
    for (std::size_t i = 0; i < Scope::groups; ++i)
      packed |= groups[i] << (layout::container + layout::group * i);
    return packed;
  }
  [[nodiscard]] constexpr code pack(group_state const& group, bool active) noexcept {
    group_counts const& counts = group.counts;
    fits = fits && counts.agreed <= most && counts.declined <= most && group.declining <= most &&
           group.consenting <= most && group.held <= most_held;
    return static_cast<code>(
        (active ? 1U : 0U) | (counts.attached ? 2U : 0U) | (counts.consent_known ? 4U : 0U) |
        (group.joined ? 8U : 0U) | (group.in_kvm ? 16U : 0U) | (group.acquired ? 32U : 0U) |
        (group.mediated ? 64U : 0U) | (counts.agreed & most) << 7U |
        (counts.declined & most) << (7U + c) | (group.declining & most) << (7U + 2 * c) |
        (group.consenting & most) << (7U + 3 * c) | (group.held & most_held) << (7U + 4 * c));
  }
  static constexpr void unpack(code packed, container_state<Scope>& container) noexcept {
    const auto own = static_cast<std::uint32_t>(packed);
    container.at = {static_cast<operation>(own & 7U), static_cast<std::uint8_t>((own >> 3U) & 7U),
                    (own >> 6U & 1U) != 0, ending::none};
    container.agrees = (own >> 7U & 1U) != 0 ? consent::given : consent::none;
    container.diverged = (own >> 8U & 1U) != 0, container.replay_will_fail = (own >> 9U & 1U) != 0;
    container.page = static_cast<page_relation>(own >> 10U & 3U),
    container.held = own >> 12U & most_held;
    container.device = {(own >> 16U & 1U) != 0, (own >> 17U & 1U) != 0, (own >> 18U & 1U) != 0,
                        (own >> 19U & 1U) != 0};
    for (std::size_t i = 0; i < Scope::groups; ++i) {
      const auto bits =
          static_cast<std::uint32_t>(packed >> (layout::container + layout::group * i));
      if ((bits & 1U) != 0) container.active = i;
      group_state& group = container.groups[i];
      group.counts = {bits >> 7U & most, bits >> (7U + c) & most, (bits & 2U) != 0,
                      (bits & 4U) != 0};
      group.joined = (bits & 8U) != 0, group.in_kvm = (bits & 16U) != 0;
      group.acquired = (bits & 32U) != 0, group.mediated = (bits & 64U) != 0;
      group.declining = bits >> (7U + 2 * c) & most, group.consenting = bits >> (7U + 3 * c) & most;
      group.held = bits >> (7U + 4 * c) & most_held;
    }
  }
};

}  // namespace tether::proof
