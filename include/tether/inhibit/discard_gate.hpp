// SPDX-License-Identifier: BSL-1.0
// The gate between those who discard memory and those who pin it. One per VM, shared by its
// balloons and its containers. A discard needs a permit; a hold closes the gate, and returns only
// when no discard that it forbids is running or can start (law 19). It covers this process only.
//
//     balloon:     |-permit-- madvise --leave-|
//     container:         |-hold ... waits ...-|-- attach, map ... unmap, detach --|-release
#pragma once

#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/detail/hold_entry.hpp>
#include <tether/inhibit/detail/ledger.hpp>
#include <tether/inhibit/detail/reader_indicator.hpp>
#include <tether/inhibit/hold.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/threading.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <system_error>

namespace tether {

namespace detail {

inline std::atomic<std::uint32_t> gates_made{0};
/// Never `none`, even after the counter has wrapped.
[[nodiscard]] inline gate_id next_gate_id() noexcept {
  std::uint32_t number = 0;
  while (number == 0) number = gates_made.fetch_add(1, std::memory_order_relaxed) + 1;
  return gate_id{number};
}

/// The gates whose holders this thread is being shown, the innermost first: it has their locks.
class shown_gate {
 public:
  explicit shown_gate(gate_id which) noexcept : which_{which}, outer_{innermost} {
    innermost = this;
  }
  shown_gate(shown_gate const&) = delete;
  shown_gate& operator=(shown_gate const&) = delete;
  ~shown_gate() { innermost = outer_; }

  [[nodiscard]] static bool shows(gate_id which) noexcept {
    for (shown_gate const* one = innermost; one != nullptr; one = one->outer_) {
      if (one->which_ == which) return true;
    }
    return false;
  }

 private:
  inline static thread_local constinit shown_gate const* innermost = nullptr;
  gate_id which_;
  shown_gate const* outer_;
};

}  // namespace detail

/// Counted holds and requirements, permits, suspensions.
/// Requires: it outlives every permit, hold, container and discarder made with it.
template <class Threading>
class discard_gate {
 public:
  using threading = Threading;
  using time_point = std::chrono::steady_clock::time_point;

  discard_gate() : indicator_{mutex_}, id_{detail::next_gate_id()} {}
  ~discard_gate() {
    ledger_.subtract(kept_any_holds_, kept_any_holds_.count());
    ledger_.subtract(kept_uncoordinated_holds_, kept_uncoordinated_holds_.count());
    if (!ledger_.empty())
      stop("tether[I3]: a discard_gate was destroyed while someone still held it");
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
        : discard_permit{gate.id_}, gate_{gate}, kind_{kind} {
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
  [[nodiscard]] guard_or_error<tether::hold<Threading>> hold(hold_kind kind,
                                                             std::string_view name) noexcept {
    return held_for(kind, name, {});
  }
  /// Gives up when `stop` is requested. Fails also: `operation_canceled`.
  [[nodiscard]] guard_or_error<tether::hold<Threading>> hold(hold_kind kind, std::string_view name,
                                                             std::stop_token stop) noexcept {
    return held_for(kind, name, {.stop = &stop});
  }
  /// Gives up at the time `until`. Fails also: `timed_out`.
  [[nodiscard]] guard_or_error<tether::hold<Threading>> hold_until(hold_kind kind,
                                                                   std::string_view name,
                                                                   time_point until) noexcept {
    return held_for(kind, name, {.until = until});
  }
  /// Does not block. Fails also: `device_or_resource_busy` while a forbidden discard runs.
  [[nodiscard]] guard_or_error<tether::hold<Threading>> try_hold(hold_kind kind,
                                                                 std::string_view name) noexcept {
    return held_for(kind, name, {.wait = false});
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
                           .of(ledger_.find(entry_kind::any_hold, also))
                           .advise("detach what holds them down first"));
      }
      if (!ledger_.has_room(entry_kind_of(kind), 1))
        return failure(uncountable("require discards", name));
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
      static_cast<void>(indicator_.drain(true, lock, {}));
    }
    return mine;
  }

  /// The counts at this moment, possibly outdated on return: before a discard, ask for a permit.
  [[nodiscard]] gate_counts counts() const noexcept {
    if (detail::shown_gate::shows(id_)) return ledger_.counts();
    std::unique_lock lock{mutex_};
    return ledger_.counts();
  }
  /// Calls `visit(holder_info)` for every entry, latest first, under the gate's lock.
  /// Requires: `visit` takes and gives back no hold, requirement or suspension of this gate
  /// (tether[I19]), nor waits for a thread that does. It may ask for counts, holders and permits.
  template <class Visitor>
  void for_each_holder(Visitor visit) const {
    if (detail::shown_gate::shows(id_)) return ledger_.for_each(visit);
    std::unique_lock lock{mutex_};
    const detail::shown_gate mine{id_};
    ledger_.for_each(visit);
  }

  // For callers that keep an entry of their own in the gate's list, as a container does.

  /// Adds `count` holds to `entry`, as `hold` does; on failure the entry is as it was. Fails also:
  /// `value_too_large` if the gate would have to count more than 2^32 - 1 of a kind.
  [[nodiscard]] result<void> raise(detail::hold_entry& entry, hold_kind kind, std::uint32_t count,
                                   detail::wait_limits const& how = {}) noexcept {
    std::unique_lock lock = lock_to_change();
    if (indicator_.entered_by_this_thread())
      return refused(std::errc::resource_deadlock_would_occur, entry);
    if (!ledger_.counts().allow(kind)) {
      const auto also = kind == hold_kind::any ? entry_kind::coordinated_requirement
                                               : entry_kind::any_requirement;
      return failure(
          error{"take hold", errc::discards_required}
              .of(ledger_.find(entry_kind::any_requirement, also))
              .advise("choose a strategy with blocks, or unplug what requires discards"));
    }
    if (!ledger_.has_room(entry_kind_of(kind), count)) [[unlikely]]
      return failure(uncountable("take hold", entry.name()));
    add(entry, entry_kind_of(kind), count);
    const detail::drained outcome = indicator_.drain(kind == hold_kind::any, lock, how);
    if (outcome == detail::drained::yes) return {};
    subtract(entry, count);
    switch (outcome) {
      case detail::drained::busy: return refused(std::errc::device_or_resource_busy, entry);
      case detail::drained::timed_out: return refused(std::errc::timed_out, entry);
      case detail::drained::cancelled: return refused(std::errc::operation_canceled, entry);
      case detail::drained::yes:
      case detail::drained::own_permit: break;
    }
    return refused(std::errc::resource_deadlock_would_occur, entry);
  }

  /// Subtracts `count` from `entry`. Never fails; subtracting more than it has stops the program.
  void lower(detail::hold_entry& entry, std::uint32_t count) noexcept {
    std::unique_lock lock = lock_to_change();
    subtract(entry, count);
  }
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

 private:
  using lock_type = std::unique_lock<typename Threading::mutex>;
  [[nodiscard]] lock_type lock_to_change() noexcept {
    if (detail::shown_gate::shows(id_)) [[unlikely]]
      stop(
          "tether[I19]: a visitor of for_each_holder took or gave back what it was being shown: "
          "note what to do, and do it afterwards");
    return lock_type{mutex_};
  }

  guard_or_error<tether::hold<Threading>> held_for(hold_kind kind, std::string_view name,
                                                   detail::wait_limits const& how) noexcept {
    tether::hold<Threading> mine{*this, name};
    if (auto done = raise(mine.entry_, kind, 1, how); !done) return failure(done.error());
    return mine;
  }
  static result<void> refused(std::errc why, detail::hold_entry const& entry) noexcept {
    return failure(error{"take hold", std::make_error_code(why)}.of(entry.name()));
  }

  [[gnu::cold]] static error uncountable(const char* what, std::string_view name) noexcept {
    const error why{what, std::make_error_code(std::errc::value_too_large)};
    return why.of(name).advise(
        "a gate counts no more than 4,294,967,295 of a kind: a policy that needs fewer holds does "
        "as well");
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
  detail::ledger ledger_;
  detail::hold_entry kept_any_holds_{"a container that could not be torn down"};
  detail::hold_entry kept_uncoordinated_holds_{"a container that could not be torn down"};
};

}  // namespace tether
