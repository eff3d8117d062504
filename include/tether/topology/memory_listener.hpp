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
  std::vector<error> fenced;
};

/// Minimal: the four calls, all `noexcept`.
/// Laws: after a failed `commit` of a refusable change the listener is exactly as before `begin`
/// (or its error is `rollback_failed()`); after a failed `commit` of a compulsory change nothing of
/// what was removed is mapped, and of what was added only what works. Within one change every
/// removal takes effect before any addition. It must not begin a transaction on the address space
/// that calls it.
/// Models: `dma_listener`, the recorder in `test/support`.
template <class L>
concept memory_listener = requires(L& listener, section const& one, commit_kind kind) {
  { listener.begin(kind) } noexcept -> std::same_as<void>;
  { listener.remove(one) } noexcept -> std::same_as<void>;
  { listener.add(one) } noexcept -> std::same_as<void>;
  { listener.commit() } noexcept -> std::same_as<result<void>>;
};

}  // namespace tether
