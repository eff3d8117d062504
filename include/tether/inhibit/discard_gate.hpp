// SPDX-License-Identifier: BSL-1.0
// The gate between those who discard memory and those who pin it. One per VM, shared by its
// balloons and its containers. A discard needs a permit; a hold closes the gate, and returns only
// when no discard that it forbids is running or can start (law 19). It covers this process only.
//
//     balloon:     |-permit-- madvise --leave-|
//     container:         |-hold ... waits ...-|-- attach, map ... unmap, detach --|-release
#pragma once

#include <tether/core/discard_permit.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/detail/hold_entry.hpp>
#include <tether/inhibit/detail/kept_owners.hpp>
#include <tether/inhibit/detail/ledger.hpp>
#include <tether/inhibit/detail/next_gate_id.hpp>
#include <tether/inhibit/detail/reader_indicator.hpp>
#include <tether/inhibit/detail/shown_gate.hpp>
#include <tether/inhibit/gate_status.hpp>
#include <tether/inhibit/hold.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/threading.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <system_error>

namespace tether {

/// Counted holds and requirements, permits, suspensions.
/// Requires: it outlives every permit, hold, container and discarder made with it.
template <class Threading>
class discard_gate {
 public:
  using threading = Threading;                                    ///< the gate's threading policy
  using hold_or_error = guard_or_error<tether::hold<Threading>>;  ///< a hold, or why there is none

  discard_gate() : indicator_{mutex_}, id_{detail::next_gate_id()} {}
  ~discard_gate() {
    if (is_inherited()) {
      for (detail::hold_entry* one : {&kept_any_holds_, &kept_uncoordinated_holds_})
        detail::ledger::forget(*one);
      return;
    }
    owners_.end(ledger_);
    ledger_.subtract(kept_any_holds_, kept_any_holds_.count());
    ledger_.subtract(kept_uncoordinated_holds_, kept_uncoordinated_holds_.count());
    if (!ledger_.empty())
      stop(
          "tether[I3]: a discard_gate was destroyed while someone still held it: destroy "
          "containers and holds first",
          ledger_.latest());
  }
  discard_gate(discard_gate const&) = delete;
  discard_gate& operator=(discard_gate const&) = delete;

  /// Permission to discard until the end of its scope; an empty one means *inhibited*. Neither
  /// copied nor moved, because it must be released on the thread that took it (tether[I18]).
  class [[nodiscard]] permit_guard : public discard_permit {
   public:
    ~permit_guard() {
      if (!this->granted_) return;
      if constexpr (Threading::checks_outer_lock) gate_.mutex_.lock();
      gate_.indicator_.leave(kind_, ticket_);
    }
    /// Deleted for temporaries: an unnamed permit would be released with the condition, before
    /// anything is discarded.
    [[nodiscard]] explicit operator bool() const& noexcept { return this->granted_; }
    explicit operator bool() const&& = delete;

   private:
    friend class discard_gate;
    permit_guard(discard_gate& gate, discard_kind kind) noexcept
        : discard_permit{gate.id_, kind == discard_kind::coordinated}, gate_{gate}, kind_{kind} {
      if constexpr (Threading::checks_outer_lock) gate_.mutex_.lock();
      this->granted_ = gate_.indicator_.enter(kind, ticket_);
    }

    discard_gate& gate_;
    discard_kind kind_;
    [[no_unique_address]] typename Threading::reader_indicator::ticket ticket_{};
  };
  /// Identifies this gate: an address space and its memory accept one gate only.
  [[nodiscard]] gate_id id() const noexcept { return id_; }

  /// Asks to discard; never blocks. Cost: an uncontended atomic exchange now and a subtraction at
  /// the end; a refusal is one load, and no hold waits for it.
  [[nodiscard]] permit_guard permit(discard_kind kind) noexcept { return {*this, kind}; }

  /// Takes a hold and waits until the discards that it forbids have ended.
  /// Fails, holding nothing: `discards_required`, naming who requires them;
  /// `resource_deadlock_would_occur` if this thread has a permit itself (of any gate).
  [[nodiscard]] hold_or_error hold(hold_kind kind, std::string_view name) noexcept {
    return held_for(kind, name, detail::wait_limits{});
  }
  /// Gives up when `stop` is requested, a `std::stop_token` (include `core/stop_token.hpp`). Fails
  /// also: `operation_canceled`.
  template <class StopToken>
  [[nodiscard]] hold_or_error hold(hold_kind kind, std::string_view name,
                                   StopToken const& stop) noexcept {
    return held_for(kind, name, detail::wait_unless_stopped{&stop});
  }
  /// Gives up at the time `until`, of a steady clock. Fails also: `timed_out`.
  template <class TimePoint>
    requires(TimePoint::clock::is_steady)
  [[nodiscard]] hold_or_error hold_until(hold_kind kind, std::string_view name,
                                         TimePoint until) noexcept {
    return held_for(kind, name, detail::wait_until{until});
  }
  /// Does not block. Fails also: `device_or_resource_busy` while a forbidden discard runs.
  [[nodiscard]] hold_or_error try_hold(hold_kind kind, std::string_view name) noexcept {
    return held_for(kind, name, detail::wait_limits{.wait = false});
  }

  /// Demands that discards stay possible. Fails: `discards_disabled`, naming who inhibits them.
  [[nodiscard]] guard_or_error<requirement<Threading>> require(requirement_kind kind,
                                                               std::string_view name) noexcept {
    requirement<Threading> mine{*this, name};
    {
      // unlocked before `mine` is moved into the result, which locks again
      std::unique_lock lock = lock_to_change();
      if (!ledger_.counts().allow(kind)) {
        const entry_kind also =
            kind == requirement_kind::any ? entry_kind::uncoordinated_hold : entry_kind::any_hold;
        return failure(error{"require discards", errc::discards_disabled}
                           .on_behalf_of(name)
                           .blocked_by(ledger_.find(entry_kind::any_hold, also))
                           .advise(detail::how_to_allow(kind)));
      }
      if (!ledger_.has_room(entry_kind_of(kind), 1))
        return failure(detail::uncountable("require discards", name));
      ledger_.add(mine.entry_, entry_kind_of(kind), 1);
    }
    return mine;
  }

  /// Makes permits answer *inhibited* while it lives (post-copy, snapshots, outgoing migration);
  /// returns once running discards have ended. Never fails, conflicts with nothing. Requires: this
  /// thread has no permit (it would deadlock).
  [[nodiscard]] suspension<Threading> suspend(std::string_view name) noexcept {
    suspension<Threading> mine{*this, name};
    {
      std::unique_lock lock = lock_to_change();
      if (indicator_.entered_by_this_thread())
        stop("tether[I4]: a thread that is discarding asked to suspend discards");
      add(mine.entry_, entry_kind::suspension, 1);
      static_cast<void>(indicator_.drain(true, lock, detail::wait_limits{}));
    }
    return mine;
  }

  /// The counts at this moment, possibly outdated on return: before a discard, ask for a permit.
  [[nodiscard]] gate_counts counts() const noexcept {
    return ask_ledger([](detail::ledger const& of) noexcept { return of.counts(); });
  }
  /// Calls `visit(holder_info)` for every entry, latest first, under the gate's lock.
  /// Requires: `visit` takes and gives back no hold, requirement or suspension of this gate
  /// (tether[I19]), nor waits for a thread that does. It may ask for counts, holders and permits.
  template <class Visitor>
  void for_each_holder(Visitor visit) const {
    if (detail::shown_gate::shows(&mutex_)) return ledger_.for_each(visit);
    std::unique_lock lock{mutex_};
    const detail::shown_gate mine{&mutex_};
    ledger_.for_each(visit);
  }

  /// The counts and all holders as they are at one moment. Never waits for a hold or a discard;
  /// may be asked from a visitor. Cost: copies the holders. Fails: may throw `std::bad_alloc`.
  [[nodiscard]] gate_status status() const {
    gate_status now;
    for (std::size_t lacking = 4; lacking != 0;) {
      now.holders.reserve(lacking);
      lacking = ask_ledger([&](detail::ledger const& of) noexcept { return of.copy_to(now); });
    }
    return now;
  }

  // For callers that keep an entry of their own in the gate's list, as a container does.

  /// Adds `count` holds to `entry`, as `hold` does; on failure the entry is as it was. Fails also:
  /// `value_too_large` if the gate would have to count more than 2^32 - 1 of a kind.
  template <class Limits = detail::wait_limits>
  [[nodiscard]] result<void> raise(detail::hold_entry& entry, hold_kind kind, std::uint32_t count,
                                   Limits const& how = {}) noexcept {
    std::unique_lock lock = lock_to_change();
    if (indicator_.entered_by_this_thread())
      return refused(std::errc::resource_deadlock_would_occur, entry);
    if (!ledger_.counts().allow(kind)) [[unlikely]]
      return failure(why_required(kind, entry.name()));
    if (!ledger_.has_room(entry_kind_of(kind), count)) [[unlikely]]
      return failure(detail::uncountable("take hold", entry.name()));
    add(entry, entry_kind_of(kind), count);
    const detail::drained outcome = indicator_.drain(kind == hold_kind::any, lock, how);
    if (outcome == detail::drained::yes) [[likely]]
      return {};
    subtract(entry, count);
    return refused(detail::cause_of(outcome), entry);
  }

  /// Subtracts `count` from `entry`. Never fails; subtracting more than it has stops the program.
  void lower(detail::hold_entry& entry, std::uint32_t count) noexcept {
    std::unique_lock lock = lock_to_change();
    subtract(entry, count);
  }
  /// Subtracts all that `entry` has, unless it is the parent's.
  void give_back(detail::hold_entry& entry) noexcept {
    if (is_inherited()) detail::ledger::forget(entry);
    else lower(entry, entry.count());
  }
  /// Whether this is the copy of a gate that a child of a fork has: then nothing is given back in
  /// it, and no lock of it is waited for.
  [[nodiscard]] bool is_inherited() const noexcept { return made_by_.is_inherited(); }
  /// Moves an entry's name and count to an entry at another address.
  void relocate(detail::hold_entry& from, detail::hold_entry& to) noexcept {
    std::unique_lock lock = lock_to_change();
    ledger_.relocate(from, to);
  }
  /// Keeps `entry`'s holds for the lifetime of the gate: their owner is being destroyed and cannot
  /// prove that its pins are gone.
  void keep_for_ever(detail::hold_entry& entry, hold_kind kind) noexcept {
    std::unique_lock lock = lock_to_change();
    const std::uint32_t count = entry.count();
    ledger_.subtract(entry, count);  // the reader indicator stays closed
    ledger_.add(kind == hold_kind::any ? kept_any_holds_ : kept_uncoordinated_holds_,
                entry_kind_of(kind), count);
  }
  /// Registers an owner of entries that may outlive this gate: its container is being destroyed.
  void adopt(detail::kept_owner& one) noexcept { owners_.add(one); }

 private:
  using lock_type = std::unique_lock<typename Threading::mutex>;
  [[nodiscard]] lock_type lock_to_change() noexcept {
    if (detail::shown_gate::shows(&mutex_)) [[unlikely]]
      stop(
          "tether[I19]: a visitor of for_each_holder took or gave back what it was being shown: "
          "note what to do, and do it afterwards");
    return lock_type{mutex_};
  }

  /// Returns `ask(ledger)`, under the lock, which a visitor's thread has already.
  template <class Ask>
  auto ask_ledger(Ask ask) const {
    if (detail::shown_gate::shows(&mutex_)) return ask(ledger_);
    std::unique_lock lock{mutex_};
    return ask(ledger_);
  }
  template <class Limits>
  hold_or_error held_for(hold_kind kind, std::string_view name, Limits const& how) noexcept {
    tether::hold<Threading> mine{*this, name};
    if (auto done = raise(mine.entry_, kind, 1, how); !done) return failure(done.error());
    return mine;
  }
  [[gnu::cold, gnu::noinline]] error why_required(hold_kind refused,
                                                 std::string_view of) const noexcept {
    const auto also = refused == hold_kind::any ? entry_kind::coordinated_requirement
                                                : entry_kind::any_requirement;
    return error{"take hold", errc::discards_required}
        .on_behalf_of(of)
        .blocked_by(ledger_.find(entry_kind::any_requirement, also))
        .advise("map in blocks (fixed_block<Size>), or unplug what requires discards");
  }
  static result<void> refused(std::errc why, detail::hold_entry const& entry) noexcept {
    return failure(detail::refused_hold(why, entry.name()));
  }

  void add(detail::hold_entry& entry, entry_kind what, std::uint32_t count) noexcept {
    ledger_.add(entry, what, count);
    if (closes(what, discard_kind::uncoordinated))
      indicator_.close(discard_kind::uncoordinated, count);
    if (closes(what, discard_kind::coordinated)) indicator_.close(discard_kind::coordinated, count);
  }
  void subtract(detail::hold_entry& entry, std::uint32_t count) noexcept {
    const entry_kind what = entry.what();
    ledger_.subtract(entry, count);
    if (closes(what, discard_kind::uncoordinated))
      indicator_.reopen(discard_kind::uncoordinated, count);
    if (closes(what, discard_kind::coordinated))
      indicator_.reopen(discard_kind::coordinated, count);
  }
  static constexpr bool closes(entry_kind what, discard_kind kind) noexcept {
    return what == entry_kind::any_hold || what == entry_kind::suspension ||
           (what == entry_kind::uncoordinated_hold && kind == discard_kind::uncoordinated);
  }

  mutable typename Threading::mutex mutex_;
  typename Threading::reader_indicator indicator_;
  gate_id id_;
  detail::process_mark made_by_;
  detail::ledger ledger_;
  detail::kept_owners owners_;
  detail::hold_entry kept_any_holds_{"a container that could not be torn down"};
  detail::hold_entry kept_uncoordinated_holds_{"a container that could not be torn down"};
};

}  // namespace tether
