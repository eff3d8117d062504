// SPDX-License-Identifier: BSL-1.0
// The guest's physical memory map: regions are placed in it, sections are computed from it, and
// changes are delivered to listeners. For a VMM without a memory model of its own; one that has its
// own calls its listeners directly.
#pragma once

#include <tether/topology/detail/commit_pipeline.hpp>
#include <tether/topology/memory_listener.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>
#include <tether/topology/transaction.hpp>
#include <tether/topology/view_guard.hpp>

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>

#include <cstdint>

namespace tether {

namespace detail {
class guarded_space;
}

/// What happens where RAM is placed over other RAM, in whole or in part: the one of higher
/// priority, or else the later, hides the other there; or that is refused.
enum class ram_overlaps : std::uint8_t { hidden, refused };

/// One guest's memory map. Thread-safe: writers wait for one another, readers never wait.
/// A listener must not change the address space that calls it: the program stops then
/// (`tether[M1]`).
/// Requires: its listeners are removed before it is destroyed, else the program stops
/// (`tether[M3]`).
class address_space {
 public:
  /// Fails: throws `std::bad_alloc`.
  address_space() = default;
  /// Where overlaps of RAM are refused, `place`, `move` and `set_enabled` fail with `overlaps`, and
  /// name both, also within a transaction: what is in the way is removed or disabled first. Other
  /// memory (ROM, another device's) and registers may lie over RAM as ever; a single region that
  /// must not be hidden at all is `exclusive`.
  explicit address_space(ram_overlaps of_ram) : address_space{} {
    writer_.refuses_overlaps = of_ram == ram_overlaps::refused;
  }
  address_space(address_space const&) = delete;
  address_space& operator=(address_space const&) = delete;

  /// Waits until no other thread has a transaction open. Nests inside one of the same thread.
  /// `kind` says whether listeners may refuse it (law 12).
  [[nodiscard]] transaction begin(commit_kind kind = commit_kind::refusable) noexcept {
    return transaction{writer_, kind};
  }

  /// Each of these is a transaction of one edit: see `transaction` for what it does and how it
  /// fails.
  [[nodiscard]] result<region_id> place(region const& what, guest_address at,
                                        int priority = 0) noexcept {
    auto change = begin();
    auto id = change.place(what, at, priority);
    if (!id) return id;
    if (auto done = change.commit(); !done) return failure(done.error());
    return id;
  }
  [[nodiscard]] result<void> remove(region_id id) noexcept {
    return single_edit([&](transaction& change) { return change.remove(id); });
  }
  [[nodiscard]] result<void> move(region_id id, guest_address to) noexcept {
    return single_edit([&](transaction& change) { return change.move(id, to); });
  }
  [[nodiscard]] result<void> set_read_only(region_id id, bool on) noexcept {
    return single_edit([&](transaction& change) { return change.set_read_only(id, on); });
  }
  [[nodiscard]] result<void> set_enabled(region_id id, bool on) noexcept {
    return single_edit([&](transaction& change) { return change.set_enabled(id, on); });
  }
  [[nodiscard]] result<void> set_dirty_log(region_id id, bool on) noexcept {
    return single_edit([&](transaction& change) { return change.set_dirty_log(id, on); });
  }

  /// The current view. Cost: a short lock and a reference count; never waits for a commit.
  [[nodiscard]] view_guard view() const noexcept { return view_guard{writer_.published()}; }
  /// Whether `view` is still the current one: false once a later one was published, even if it
  /// shows the same. Cost: reads one word.
  [[nodiscard]] bool is_current(view_guard const& view) const noexcept {
    return writer_.publishes(*view);
  }

  /// Delivers every section to `listener`, then every commit. Listeners of lower priority get
  /// additions first and removals last; among equals the order of registration decides. The
  /// sections are replayed without blocking other writers; a listener is never called by two
  /// threads at once. If the map is empty it is not called.
  /// Requires: the listener stays where it is until it is removed.
  /// Fails: `already_there`; the listener's own error, after it was rolled back to an empty map.
  template <memory_listener L>
  [[nodiscard]] result<void> add_listener(L& listener, int priority = 0) noexcept {
    const detail::listener_handle handle{listener};
    return writer_.add(handle, priority, handle);
  }
  /// As above, but the first replay goes to `replay`, which forwards to `listener` and may report
  /// progress or refuse (law 27). A roll-back goes to `listener` itself. Requires: a `replay` whose
  /// `commit` fails has left `listener` as it was before that `begin`.
  template <memory_listener L, memory_listener Replay>
  [[nodiscard]] result<void> add_listener(L& listener, int priority, Replay& replay) noexcept {
    return writer_.add(detail::listener_handle{listener}, priority,
                       detail::listener_handle{replay});
  }

  /// Removes every section from `listener` (compulsory: it cannot refuse), and unregisters it.
  /// Succeeds without effect if it is not registered.
  /// Fails: with the listener's own error if it could not follow, but it is removed all the same;
  /// `still_in_use` if another thread is adding or removing it.
  template <memory_listener L>
  [[nodiscard]] result<void> remove_listener(L& listener) noexcept {
    return writer_.remove(&listener);
  }

 private:
  friend detail::guarded_space;

  template <class Edit>
  [[nodiscard]] result<void> single_edit(Edit edit) noexcept {
    auto change = begin();
    if (auto done = edit(change); !done) return done;
    if (auto done = change.commit(); !done) return failure(done.error());
    return {};
  }

  // mutable: a gate can be set and cleared through a const address space
  mutable detail::commit_pipeline writer_;
};

}  // namespace tether
