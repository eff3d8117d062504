// SPDX-License-Identifier: BSL-1.0
// A listener to the guest's memory map. A commit is delivered as `begin`, all `remove`s, all
// `add`s, `commit`; only `commit` returns a result, and the listener may defer all work until then.
//
//     begin(kind)  remove(a) remove(b)   add(c) add(d)   commit() -> done, or refused and as before
#pragma once

#include <tether/core/error.hpp>
#include <tether/topology/section.hpp>

#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

namespace tether {

/// Whether a change can be rolled back (law 12).
enum class commit_kind : std::uint8_t {
  refusable,  ///< the VMM's: if one listener refuses it, it is rolled back for all
  /// decided by guest or kernel: it is published, and a listener that cannot follow fences what it
  /// concerns
  compulsory,
};

/// What a commit did.
struct commit_report {
  std::uint64_t removed = 0;  ///< sections that were removed from the listeners
  std::uint64_t added = 0;    ///< sections that were added to them
  /// Compulsory commits: of each listener that could not follow, and fenced what it concerned.
  /// `error::container` says which one.
  std::vector<error> fenced;
};

/// Minimal: the four calls, all `noexcept`. Optional: `begin_rollback()` (`rolls_back`), called
/// instead of `begin(compulsory)` where the change that the listener has just followed is rolled
/// back, because another one refused it: its inverse follows; and `could_follow` (`foretells`).
/// Laws: after a failed `commit` of a refusable change the listener is exactly as before `begin`
/// (or its error is `rollback_failed()`). After a failed `commit` of a compulsory change nothing of
/// what was removed is mapped, and of what was added only what works; but all of it counts as
/// added: a listener that could not follow an addition is told of its removal, too. After a
/// rollback it is as before the change, also in what it had not been able to follow. Within one
/// change every removal takes effect before any addition. A `commit` without `begin` changes
/// nothing. `could_follow` changes nothing, and fails with what `commit` would refuse before it did
/// anything: where several follow one address space, all are asked before any is told of a
/// refusable change (law 14). `commit` may refuse all the same. It must not begin a transaction on
/// the address space that calls it.
/// Order: listeners of lower priority get additions first and removals last; among equals the order
/// of registration decides. A container registers at priority 0, with its first attach. A change
/// that one refuses happens to none, so one that refuses everything, as a diverged container does,
/// lets every refusable change of the map fail.
/// Models: `dma_listener`, the recorder in `test/support`.
template <class L>
concept memory_listener = requires(L& listener, section const& one, commit_kind kind) {
  { listener.begin(kind) } noexcept -> std::same_as<void>;
  { listener.remove(one) } noexcept -> std::same_as<void>;
  { listener.add(one) } noexcept -> std::same_as<void>;
  { listener.commit() } noexcept -> std::same_as<result<void>>;
};

/// A listener that is told when a change which it has followed is rolled back.
template <class L>
concept rolls_back = requires(L& listener) {
  { listener.begin_rollback() } noexcept -> std::same_as<void>;
};

/// A listener that knows beforehand of some changes that it could not follow.
template <class L>
concept foretells = requires(L& listener, std::span<section const> sections) {
  { listener.could_follow(sections, sections) } noexcept -> std::same_as<result<void>>;
};

}  // namespace tether
