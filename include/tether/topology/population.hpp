// SPDX-License-Identifier: BSL-1.0
// Coordinated discards (QEMU's RamDiscardManager): a block of memory is divided into units, each of
// which is there (populated) or is not (discarded). Whoever wants one gone asks here: every
// container that maps it unmaps it first. Whoever wants it back gets it mapped everywhere before
// the answer. So containers that map in blocks need not hold such discards down.
//
//     populated --discard--> unmapped everywhere --> memory given back ---> discarded
//     discarded --populate-> memory brought in ----> mapped everywhere ---> populated
//                                  every failure leads back to where it began
//
// Each source of discards (a balloon, a virtio-mem device) has its own set of units that it wants
// gone; a unit is populated only if no source wants it gone.
#pragma once

#include <tether/topology/detail/unit_follower.hpp>
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/ram_block.hpp>

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/detail/unit_rules.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace tether {

class unit_source;

/// Whether a unit could not be discarded or populated only because a container that maps it is at
/// work: it may be tried again.
[[nodiscard]] inline bool is_busy(error const& why) noexcept {
  return why.code() == std::make_error_code(std::errc::device_or_resource_busy);
}

/// Which units of one block's memory are there. Made by `divide`, lives as long as the memory.
/// Thread-safe: what is done to different units runs in parallel, to one unit one after the other.
class population {
 public:
  population(population const&) = delete;
  population& operator=(population const&) = delete;

  /// Bytes of a unit: a power of two. The last unit ends with the memory.
  [[nodiscard]] std::uint64_t unit_size() const noexcept { return unit_size_; }
  /// How many units there are.
  [[nodiscard]] std::uint64_t units() const noexcept { return states_.size(); }
  /// Bytes that are discarded now.
  [[nodiscard]] std::uint64_t discarded_bytes() const noexcept {
    return discarded_.load(std::memory_order_relaxed) * unit_size_;
  }
  [[nodiscard]] memory_backing& memory() const noexcept { return memory_; }
  /// The bytes of a unit. Requires: `which < units()`.
  [[nodiscard]] extent<block_offset> extent_of(std::uint64_t which) const noexcept {
    const block_offset first{which * unit_size_};
    return {first, first + (unit_size_ - 1)};
  }
  /// Whether these bytes are divided. Memory of a file that has grown since is not, from where it
  /// ended.
  [[nodiscard]] bool covers(extent<block_offset> bytes) const noexcept {
    return bytes.last.value / unit_size_ < units();
  }
  /// The unit that a byte lies in.
  [[nodiscard]] std::uint64_t unit_at(block_offset where) const noexcept {
    return where.value / unit_size_;
  }
  /// Whether a unit is there; possibly outdated on return.
  [[nodiscard]] bool is_populated(std::uint64_t which) const noexcept {
    const std::lock_guard lock{mutex_};
    return states_[which].present;
  }

  // For a listener that maps the units of a section, with its own lock held.

  /// Calls `map_present()`, which maps what `is_populated` says; meanwhile no unit changes, since
  /// who wants to change one is told *busy*. If it succeeds, or could not undo what it had mapped,
  /// `who` is told of each later change. Waits only for changes in progress, none of which waits
  /// for `who`. Cost: one step more, if `near` is another section of the same owner that is
  /// enrolled here, else one for each that is.
  template <class Map>
  [[nodiscard]] result<void> enrol(detail::unit_follower& who, detail::unit_follower* near,
                                   Map map_present) noexcept {
    const enrolment_change alone{*this, who};
    auto done = map_present();
    if (detail::is_followed_after_mapping(detail::outcome_of(done))) followers_.insert(who, near);
    return done;
  }
  /// Calls `unmap_present()`; if it succeeds, `who` is told of nothing any more. Answers another
  /// section of the same owner that is enrolled here, or null. Requires: `who` is enrolled.
  template <class Unmap>
  [[nodiscard]] result<detail::unit_follower*> withdraw(detail::unit_follower& who,
                                                        Unmap unmap_present) noexcept {
    const enrolment_change alone{*this, who};
    auto done = unmap_present();
    if (detail::is_followed_after_unmapping(detail::outcome_of(done))) return failure(done.error());
    return followers_.erase(who);
  }
  /// Another name of the container that `who` is a section of.
  void rename(detail::unit_follower& who, std::string_view container) noexcept {
    const std::lock_guard lock{mutex_};
    who.container = label{container};
  }
  /// A device may reach the unit, and the container that could unmap it is gone: it is not
  /// discarded until `let_go` was called as often.
  void keep(std::uint64_t which) noexcept {
    const std::lock_guard lock{mutex_};
    states_[which].kept += 1;
  }
  /// No device reaches it any more.
  void let_go(std::uint64_t which) noexcept {
    const std::lock_guard lock{mutex_};
    states_[which].kept -= 1;
  }

 private:
  friend unit_source;
  friend result<void> divide(ram_block const&, std::uint64_t) noexcept;

  population(memory_backing& memory, std::uint64_t unit_size)
      : memory_{memory},
        unit_size_{unit_size},
        states_(static_cast<std::size_t>(memory.size() / unit_size)) {}

  static void divides(memory_backing& memory, std::uint64_t unit_size) {
    memory.population_ = std::shared_ptr<population>{new population{memory, unit_size}};
  }

  /// While it lives the followers do not change, and none of them is being told of anything.
  class enrolment_change {
   public:
    enrolment_change(population& of, detail::unit_follower const& who) noexcept : of_{of} {
      {
        const std::lock_guard lock{of.mutex_};
        ++of.turns_.enrolling;
        of.at_work_ = who.container;
      }
      const auto lock = of.lock_when([&of] { return of.turns_.may_open(); });
      of.turns_.open = true;
    }
    enrolment_change(enrolment_change const&) = delete;
    enrolment_change& operator=(enrolment_change const&) = delete;
    ~enrolment_change() {
      const std::lock_guard lock{of_.mutex_};
      --of_.turns_.enrolling;
      of_.turns_.open = false;
      of_.notify();
    }

   private:
    population& of_;
  };

  /// Locks, once `true_now()`.
  template <class Condition>
  [[nodiscard]] std::unique_lock<std::mutex> lock_when(Condition true_now) noexcept {
    for (;;) {
      std::unique_lock lock{mutex_};
      if (true_now()) return lock;
      const std::uint32_t seen = changes_.load();
      lock.unlock();
      changes_.wait(seen);
    }
  }
  /// Requires: the lock, under which something has changed.
  void notify() noexcept {
    changes_.fetch_add(1);
    changes_.notify_all();
  }
  /// Locks, once nobody changes the unit.
  [[nodiscard]] std::unique_lock<std::mutex> lock_settled(std::uint64_t which) noexcept {
    return lock_when([this, which] { return !states_[which].changing; });
  }

  /// Counts this thread in `telling`, so that the followers do not change until it is counted out.
  /// False while a container enrols or withdraws: then `enrolling` is its name.
  [[nodiscard]] bool begin_telling(label& enrolling) noexcept {
    const std::lock_guard lock{mutex_};
    if (turns_.may_tell()) {
      ++turns_.telling;
      return true;
    }
    enrolling = at_work_;
    return false;
  }
  /// Runs `act()` with the followers' locks held, unless somebody is busy. The caller then calls
  /// `end_change`, which notifies an enrolment that waits for `telling` to be 0.
  template <class Tell>
  [[nodiscard]] result<void> tell(const char* operation, std::uint64_t which, Tell act) noexcept {
    const auto what = extent_of(which);
    label enrolling{};
    if (!begin_telling(enrolling)) return failure(busy(operation, what, enrolling));
    result<void> done{};
    if (detail::unit_follower const* const at_work = followers_.begin_all(what);
        at_work == nullptr) {
      done = act();
      followers_.end_all(what);
    } else {
      done = failure(busy(operation, what, name_of(*at_work)));
    }
    const std::lock_guard lock{mutex_};
    --turns_.telling;
    return done;
  }
  [[nodiscard]] result<void> discard_memory(extent<block_offset> what,
                                            discard_permit const& permit) noexcept {
    return memory_.discard_pages(what, permit);
  }
  /// Under the lock: the unit is there from now on, or is not.
  void settle(std::uint64_t which, bool present) noexcept {
    if (states_[which].present == present) return;
    states_[which].present = present;
    if (present) discarded_.fetch_sub(1, std::memory_order_relaxed);
    else discarded_.fetch_add(1, std::memory_order_relaxed);
  }
  void end_change(std::uint64_t which) noexcept {
    states_[which].changing = false;
    notify();
  }
  [[nodiscard]] label name_of(detail::unit_follower const& one) const noexcept {
    const std::lock_guard lock{mutex_};
    return one.container;
  }
  [[nodiscard]] error busy(const char* operation, extent<block_offset> what,
                           label const& container) const noexcept {
    return error{operation, std::make_error_code(std::errc::device_or_resource_busy)}
        .at(what)
        .of(memory_.name())
        .in(container.view())
        .advise("a container that maps it is being attached, detached or changed: try again");
  }

  memory_backing& memory_;
  std::uint64_t unit_size_;
  mutable std::mutex mutex_;  // around what follows; nothing is called under it
  std::atomic<std::uint32_t> changes_{0};
  std::vector<detail::unit_record> states_;
  detail::telling_and_enrolling turns_;
  label at_work_{};  // the container that has come last to enrol or withdraw
  std::atomic<std::uint64_t> discarded_{0};
  detail::unit_followers followers_;  // changed while `turns_.open`, used while telling
};

/// Divides a block's memory into units of `unit_size` bytes, all populated; of a shared file, the
/// whole file. The memory's granularity for coordinated discards: a container that maps it in
/// blocks follows each unit, and its blocks must divide the unit.
/// Fails: `already_there`; `still_in_use` if it is placed in an address space; `not_aligned` unless
/// `unit_size` is a power of two, whole pages of the block, and divides its size; `access_denied`
/// if it cannot be written; `unsupported` for a device's memory; not enough memory.
/// Requires: nobody places it meanwhile.
[[nodiscard]] inline result<void> divide(ram_block const& block, std::uint64_t unit_size) noexcept {
  memory_backing& memory = block.backing();
  const auto refused = [&](errc why) { return error{"divide", why}.of(block.name()); };
  if (memory.population() != nullptr) return failure(refused(errc::already_there));
  if (memory.kind() == memory_kind::device) return failure(refused(errc::unsupported));
  if (!memory.writable())
    return failure(refused(errc::access_denied).advise("its file is open for reading only"));
  if (memory.references() != 0)
    return failure(refused(errc::still_in_use)
                       .blocked_by(memory.referrers().newest().view())
                       .advise("divide it before it is placed"));
  if (!std::has_single_bit(unit_size) || unit_size < memory.page_size() ||
      memory.size() % unit_size != 0)
    return failure(refused(errc::not_aligned)
                       .advise("take a power of two, at least {} bytes, that divides its size",
                               memory.page_size()));
  TETHER_TRY { population::divides(memory, unit_size); }
  TETHER_CATCH(...) { return failure(error::out_of_memory("divide").of(block.name())); }
  return {};
}

}  // namespace tether
