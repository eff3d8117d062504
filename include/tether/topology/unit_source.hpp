// SPDX-License-Identifier: BSL-1.0
// One who discards units of divided memory and brings them back: a balloon, a virtio-mem device, a
// VMM's own policy. What happens to a unit, step by step; the state is the population's.
//
//     discard:   unmap in each container -> give the memory back -> discarded
//     populate:  bring the memory in -> map in each container -> populated -> tell the guest
#pragma once

#include <tether/topology/memory_backing.hpp>
#include <tether/topology/population.hpp>

#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/core/label.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace tether {

/// One who gives units away and takes them back, with the set of those that it wants gone. One that
/// is destroyed wants nothing gone any more; its units stay discarded until somebody populates
/// them. Thread-safe. Requires: when it discards or populates, the memory is there.
class unit_source {
 public:
  /// Fails: throws `std::bad_alloc`.
  explicit unit_source(population& of)
      : memory_{of.memory().weak_from_this()}, of_{&of}, gone_((of.units() + 63) / 64, 0) {}
  unit_source(unit_source const&) = delete;
  unit_source& operator=(unit_source const&) = delete;
  ~unit_source() {
    const auto alive = memory_.lock();
    if (alive == nullptr) return;
    const std::lock_guard lock{of_->mutex_};
    std::uint64_t which = of_->units();
    while (which-- != 0) forget(which);
  }

  /// The units that it is a source of.
  [[nodiscard]] population& units() const noexcept { return *of_; }
  /// Whether the memory has been freed.
  [[nodiscard]] bool expired() const noexcept { return memory_.expired(); }
  /// Whether this source wants the unit gone.
  [[nodiscard]] bool wants_gone(std::uint64_t which) const noexcept {
    const std::lock_guard lock{of_->mutex_};
    return has(which);
  }
  /// How many units it wants gone.
  [[nodiscard]] std::uint64_t size() const noexcept {
    const std::lock_guard lock{of_->mutex_};
    return size_;
  }

  /// Unmaps the unit in every container, then gives its memory back. Nothing happens where it is
  /// discarded already. All or nothing.
  /// Fails: `device_or_resource_busy`, naming it, while a container that maps it is at work: try
  /// again;
  /// `discards_disabled` if the permit was not granted; what a container or the kernel says, naming
  /// the container; `diverged` if a container that could not unmap it was destroyed.
  /// `error::rollback_failed()` if one could not map it again.
  /// Requires: a permit that coordinated discards may have. Cost: an unmap in each container and
  /// one system call.
  [[nodiscard]] result<void> discard(std::uint64_t which, discard_permit const& permit) noexcept {
    if (which >= of_->units()) return failure(past_the_end("discard", which));
    {
      const auto lock = of_->lock_settled(which);
      auto& now = of_->states_[which];
      const auto task = detail::task_of_discard(now, has(which));
      if (task == detail::unit_task::refuse) return failure(kept_for_ever(which));
      if (task == detail::unit_task::note) note(which);
      if (task != detail::unit_task::change) return {};
      now.changing = true;
    }
    const auto what = of_->extent_of(which);
    auto done = of_->tell("discard", which, [&]() -> result<void> {
      if (auto unmapped = of_->followers_.unmap(what); !unmapped) return unmapped;
      if (auto gone = of_->discard_memory(what, permit); !gone) {
        const bool back = of_->followers_.map_again(what);
        return failure(back ? gone.error() : gone.error().with_failed_rollback());
      }
      const std::lock_guard lock{of_->mutex_};
      of_->settle(which, false);
      note(which);
      return {};
    });
    const std::lock_guard lock{of_->mutex_};
    of_->end_change(which);
    return done;
  }

  /// Brings the unit's memory in and maps it in every container, unless another source wants it
  /// gone: then this one just agrees, and the unit stays discarded. All or nothing: after a failure
  /// this source wants it gone as before. `permit()` answers a permit for discarding again what was
  /// brought in.
  /// Fails: `device_or_resource_busy`, as `discard`; what the kernel or a container says, naming
  /// it.
  template <class AskPermit>
  [[nodiscard]] result<void> populate(std::uint64_t which, AskPermit permit) noexcept {
    if (which >= of_->units()) return failure(past_the_end("populate", which));
    if (!begin_populating(which)) return {};
    const auto what = of_->extent_of(which);
    auto done = of_->memory_.populate(what);
    if (done)
      done = of_->tell("populate", which, [&]() -> result<void> {
        if (auto mapped = of_->followers_.map(what); !mapped) return mapped;
        const std::lock_guard lock{of_->mutex_};
        of_->settle(which, true);
        forget(which);
        return {};
      });
    if (ends_given_back(which, detail::outcome_of(done))) {
      // what was brought in; where that is inhibited it stays, unmapped
      auto&& again = permit();
      if (again.granted()) static_cast<void>(of_->discard_memory(what, again));
    }
    const std::lock_guard lock{of_->mutex_};
    of_->end_change(which);
    return done;
  }

  /// As `populate`, but the unit is populated in any case (law 24): a container that cannot map it
  /// goes without it, so its devices fault there, and never see other memory than the CPU.
  /// Fails: what the first of those containers, or the kernel, says.
  [[nodiscard]] result<void> populate_or_fence(std::uint64_t which) noexcept {
    if (which >= of_->units()) return failure(past_the_end("populate", which));
    if (!begin_populating(which)) return {};
    const auto what = of_->extent_of(which);
    auto present = of_->memory_.populate(what);
    label enrolling{};
    const bool told = of_->begin_telling(enrolling);
    const auto mapped = told ? of_->followers_.map_where_possible(
                                   what,
                                   [&](detail::unit_follower const& one) {
                                     return of_->busy("populate", what, of_->name_of(one));
                                   })
                             : result<void>{failure(of_->busy("populate", what, enrolling))};
    const std::lock_guard lock{of_->mutex_};
    of_->turns_.telling -= told ? 1 : 0;
    of_->states_[which] = detail::after_populate(of_->states_[which], detail::unit_outcome::done);
    of_->settle(which, true);
    forget(which);
    of_->end_change(which);
    return present ? mapped : present;
  }

 private:
  [[nodiscard]] bool has(std::uint64_t which) const noexcept {
    return (gone_[static_cast<std::size_t>(which / 64)] >> (which % 64) & 1) != 0;
  }
  // under the population's lock
  void note(std::uint64_t which) noexcept { change(which, true); }
  void forget(std::uint64_t which) noexcept { change(which, false); }
  void change(std::uint64_t which, bool gone) noexcept {
    if (has(which) == gone) return;
    gone_[static_cast<std::size_t>(which / 64)] ^= std::uint64_t{1} << (which % 64);
    size_ = gone ? size_ + 1 : size_ - 1;
    std::uint16_t& wanted = of_->states_[which].wanted_gone;
    wanted = static_cast<std::uint16_t>(gone ? wanted + 1 : wanted - 1);
  }
  /// Whether the unit is to be brought in; if so, nobody else changes it until `end_change`.
  [[nodiscard]] bool begin_populating(std::uint64_t which) noexcept {
    const auto lock = of_->lock_settled(which);
    auto& now = of_->states_[which];
    const auto task = detail::task_of_populate(now, has(which));
    if (task == detail::unit_task::forget) forget(which);
    else now.changing = true;
    return task == detail::unit_task::change;
  }
  /// Records how a populate has ended, and answers whether what was brought in is discarded again.
  [[nodiscard]] bool ends_given_back(std::uint64_t which, detail::unit_outcome how) noexcept {
    const std::lock_guard lock{of_->mutex_};
    auto& now = of_->states_[which];
    now = detail::after_populate(now, how);
    return detail::is_given_back(now, how);
  }
  [[nodiscard]] error past_the_end(const char* operation, std::uint64_t which) const noexcept {
    return error{operation, errc::past_the_end}
        .of(of_->memory_.name())
        .advise("unit {} is not there", which);
  }

  [[nodiscard]] error kept_for_ever(std::uint64_t which) const noexcept {
    return error{"discard", errc::diverged}
        .at(of_->extent_of(which))
        .of(of_->memory_.name())
        .advise("a container that was destroyed could not unmap it");
  }

  std::weak_ptr<memory_backing> memory_;
  population* of_;
  std::vector<std::uint64_t> gone_;  // a bit a unit; under the population's lock
  std::uint64_t size_ = 0;
};

}  // namespace tether
