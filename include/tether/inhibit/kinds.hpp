// SPDX-License-Identifier: BSL-1.0
// Which holds, requirements, suspensions and discards exclude each other: a row is what is asked
// for, a column what is there already ("unc." uncoordinated, "coord." coordinated, "req."
// requirement).
//
//                            any hold   unc. hold   suspension   any req.   coord. req.
//   uncoordinated discard      no         no          no           -          -
//   coordinated discard        no         yes         no           -          -
//   any hold                   yes        yes         yes          no         no
//   uncoordinated hold         yes        yes         yes          no         yes
//   any requirement            no         no          yes          yes        yes
//   coordinated requirement    no         yes         yes          yes        yes
#pragma once

#include <tether/version.hpp>

#include <cstdint>
#include <string_view>

namespace tether {

/// What a hold forbids: every discard, or only uncoordinated ones.
enum class hold_kind : std::uint8_t { any, uncoordinated };
/// How a discard happens: without telling the mapper, or after the mapper has unmapped (in QEMU,
/// through a RamDiscardManager).
enum class discard_kind : std::uint8_t { uncoordinated, coordinated };
/// Which discards must stay possible: all, or coordinated ones.
enum class requirement_kind : std::uint8_t { any, coordinated };

/// What an entry counts: holds, requirements or suspensions, and of which kind.
enum class entry_kind : std::uint8_t {
  any_hold,
  uncoordinated_hold,
  any_requirement,
  coordinated_requirement,
  suspension
};

/// The kind of a hold's or requirement's entry.
[[nodiscard]] constexpr entry_kind entry_kind_of(hold_kind kind) noexcept {
  return kind == hold_kind::any ? entry_kind::any_hold : entry_kind::uncoordinated_hold;
}
[[nodiscard]] constexpr entry_kind entry_kind_of(requirement_kind kind) noexcept {
  return kind == requirement_kind::any ? entry_kind::any_requirement
                                       : entry_kind::coordinated_requirement;
}
/// What it is called where holders are listed.
[[nodiscard]] constexpr const char* name_of(entry_kind what) noexcept {
  switch (what) {
    case entry_kind::any_hold: return "any hold";
    case entry_kind::uncoordinated_hold: return "uncoordinated hold";
    case entry_kind::any_requirement: return "any requirement";
    case entry_kind::coordinated_requirement: return "coordinated requirement";
    case entry_kind::suspension: return "suspension";
  }
  return "";
}

/// What `discard_gate::for_each_holder` reports of an entry: who, what, how many.
struct holder_info {
  std::string_view name;  ///< who
  entry_kind what;        ///< what it has
  std::uint32_t count;    ///< how many of these
};

/// How many holds, requirements and suspensions there are. Plain counts; each gate has one of
/// these.
/// Source: QEMU's ram_block_discard counters as of 2021, with the underflow check that they lost.
struct gate_counts {
  std::uint32_t any_holds = 0;                 ///< holds that forbid every discard
  std::uint32_t uncoordinated_holds = 0;       ///< holds that let coordinated discards go on
  std::uint32_t any_requirements = 0;          ///< requirements of discards of any kind
  std::uint32_t coordinated_requirements = 0;  ///< requirements of coordinated discards alone
  std::uint32_t suspensions = 0;               ///< suspensions

  friend constexpr bool operator==(gate_counts const&, gate_counts const&) noexcept = default;

  /// The number of holds of that kind.
  [[nodiscard]] constexpr std::uint32_t& of(hold_kind kind) noexcept {
    return kind == hold_kind::any ? any_holds : uncoordinated_holds;
  }
  /// The number of requirements of that kind.
  [[nodiscard]] constexpr std::uint32_t& of(requirement_kind kind) noexcept {
    return kind == requirement_kind::any ? any_requirements : coordinated_requirements;
  }

  /// Whether a discard may start.
  [[nodiscard]] constexpr bool allow(discard_kind kind) const noexcept {
    return any_holds == 0 && suspensions == 0 &&
           (kind == discard_kind::coordinated || uncoordinated_holds == 0);
  }
  /// Whether a hold may be taken.
  [[nodiscard]] constexpr bool allow(hold_kind kind) const noexcept {
    return any_requirements == 0 &&
           (kind == hold_kind::uncoordinated || coordinated_requirements == 0);
  }
  /// Whether a requirement may be made.
  [[nodiscard]] constexpr bool allow(requirement_kind kind) const noexcept {
    return any_holds == 0 && (kind == requirement_kind::coordinated || uncoordinated_holds == 0);
  }
};

}  // namespace tether
