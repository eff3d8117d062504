// SPDX-License-Identifier: BSL-1.0
// The state of an `io_uring_buffers` backend: which mappings are recorded, which slots they own,
// and whether the kernel pins them now. Pinning and unpinning are all or nothing, or report
// that the rollback failed (stuck).
//
//     recorded, no pinning group joined        recorded and pinned
//        table row -> slot -> slot    ---join--->   every slot holds a buffer
//                                     <--leave---   every tag has arrived
#pragma once

#include <tether/backend/detail/host_memory.hpp>
#include <tether/backend/detail/iova_table.hpp>
#include <tether/backend/emulated/endpoint_registry.hpp>
#include <tether/backend/io_uring/options.hpp>
#include <tether/backend/io_uring/ring.hpp>
#include <tether/backend/io_uring/slot_chains.hpp>
#include <tether/core/detail/locked_memory.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace tether::detail {

/// What the backend and its devices share, at a fixed address. Requires of every function but
/// `open`, `lock` and `is_inherited`: `lock` is held, and it is not inherited.
/// The kernel's part belongs to the process that opened it: in a child of a fork the ring's memory
/// and descriptor are the parent's own, and a tag that the child took would be waited for by the
/// parent in vain. A child has nothing pinned, so there is nothing to be undone there.
template <class Kernel>
struct io_uring_pins {
  using answer = typename Kernel::answer;

  explicit io_uring_pins(io_uring_options chosen) : options{std::move(chosen)} {}
  io_uring_pins(io_uring_pins const&) = delete;
  io_uring_pins& operator=(io_uring_pins const&) = delete;
  /// The kernel unpins a closed ring's pages only some time later, so they are unpinned first.
  ~io_uring_pins() {
    if (is_inherited() || pinned_bytes() == 0) return;
    static_cast<void>(wait_for_requests());
    static_cast<void>(unpin("close", table.all()));
  }

  /// Checks the options and sets the ring up. Fails: EINVAL for an option, not enough memory, as
  /// `io_uring_ring::open`.
  [[nodiscard]] result<void> open() noexcept {
    if (options.slots < 2 || options.slots > io_uring_most_slots || options.bytes_per_slot == 0 ||
        options.bytes_per_slot > io_uring_largest_buffer ||
        options.bytes_per_slot % Kernel::page_size() != 0) {
      return failure(
          error{"open io_uring", std::make_error_code(std::errc::invalid_argument)}.advise(
              "use 2 to {} slots of at most 1 GiB in whole host pages", io_uring_most_slots));
    }
    if (!slots.make(options.slots)) return failure(error::out_of_memory("open io_uring"));
    spare = slots.allocate(1).head;
    return ring.open(options.slots, options.longest_wait);
  }

  /// Whether this process has it from its parent, by a fork.
  [[nodiscard]] bool is_inherited() const noexcept { return made_by_.is_inherited(); }
  /// The lock, unless it is inherited: a thread that is not there any more may hold it for ever.
  [[nodiscard]] std::unique_lock<std::mutex> lock() const noexcept {
    return is_inherited() ? std::unique_lock<std::mutex>{} : std::unique_lock{mutex_};
  }
  /// What asks a child's copy for anything is refused with.
  /// The error of a wait or a call that failed, with what to do about it.
  [[nodiscard]] error failed(const char* operation, answer why) const noexcept {
    const error plain = error::from_errno(operation, static_cast<int>(-why));
    if (why != -ETIME) return plain;
    return plain.advise(
        "the kernel has not confirmed an unpin for {} ms: call abandon() when it has, or close all",
        static_cast<std::uint64_t>(options.longest_wait.count()));
  }

  /// How many slots a mapping takes.
  [[nodiscard]] std::uint64_t slots_for(extent<io_address> where) const noexcept {
    return (where.last - where.first) / options.bytes_per_slot + 1;
  }

  /// Pins every slot of the rows. Fails: the kernel's errno, with nothing of the rows pinned, or
  /// stuck.
  [[nodiscard]] result<void> pin(const char* operation, table_run run) noexcept {
    for (std::size_t row = run.from; row != run.to; row = table.next(row)) {
      const answer pinned = pin_row(row);
      if (pinned >= 0) continue;
      error why = refusal(operation, pinned, row, run);
      const answer begun = begin_unpin({run.from, table.next(row)});
      const answer waited = wait_for_unpins();
      if (begun < 0 || waited < 0) why = why.with_failed_rollback();
      return failure(why);
    }
    return {};
  }

  /// Empties every slot of the rows. Ensures: on success their pages are unpinned. Fails: with all
  /// of them pinned again, or stuck.
  [[nodiscard]] result<void> unpin(const char* operation, table_run run) noexcept {
    const answer begun = begin_unpin(run);
    const answer waited = wait_for_unpins();
    if (begun >= 0 && waited >= 0) return {};
    error why = failed(operation, waited < 0 ? waited : begun);
    if (run.from != run.to) why = why.at(table.where(run.from));
    if (waited < 0) return failure(why.with_failed_rollback());
    for (std::size_t row = run.from; row != run.to; row = table.next(row)) {
      if (pin_row(row) < 0) return failure(why.with_failed_rollback());
    }
    return failure(why);
  }

  /// Removes rows from the table and frees their slots. Requires: their pages are unpinned.
  void erase_rows(table_run run) noexcept {
    for (std::size_t row = run.from; row != run.to; row = table.next(row))
      slots.free(table.payload(row));
    table.erase(run);
  }

  /// The slot that `at` of a row lies in, and how many bytes from there on the same slot holds.
  [[nodiscard]] std::pair<std::uint32_t, std::uint64_t> slot_at(std::size_t row,
                                                                io_address at) const noexcept {
    const std::uint64_t offset = at - table.where(row).first;
    const std::uint64_t room = options.bytes_per_slot - offset % options.bytes_per_slot;
    return {slots.nth(table.payload(row), offset / options.bytes_per_slot),
            std::min(room, table.where(row).last - at + 1)};
  }

  /// The same for where the next slot of the row begins. Requires: `at` is that; `slot` is the one
  /// in front of it.
  [[nodiscard]] std::pair<std::uint32_t, std::uint64_t> slot_after(std::size_t row,
                                                                   std::uint32_t slot,
                                                                   io_address at) const noexcept {
    return {slots.next(slot), std::min(options.bytes_per_slot, table.where(row).last - at + 1)};
  }

  /// Pins what one request uses while `use` runs: the spare slot's only purpose.
  /// Fails: the negative errno of the pin, of `use`, or of the unpin (then the next call retries
  /// that first).
  template <class Use>
  [[nodiscard]] answer with_spare(host_address host, std::uint64_t size, Use use) noexcept {
    if (const answer waited = wait_for_requests(); waited < 0) return waited;
    const std::uint64_t page = Kernel::page_size();
    const host_address first{host.value & ~(page - 1)};
    const std::uint64_t bytes = ((host.value + size + page - 1) & ~(page - 1)) - first.value;
    if (const answer pinned = ring.pin(spare, first, bytes); pinned < 0) return pinned;
    slots.set_pinned(spare, bytes);
    const answer used = use(spare);
    const answer emptied = empty_spare();
    return used < 0 ? used : emptied;
  }
  /// Finishes what an earlier failure left pending: a request in flight, a spare slot still pinned.
  [[nodiscard]] answer wait_for_requests() noexcept {
    if (const answer finished = ring.wait_for_requests(); finished < 0) return finished;
    return empty_spare();
  }
  /// Unpins what the spare slot holds, if anything.
  [[nodiscard]] answer empty_spare() noexcept {
    if (slots.pinned(spare) != 0) {
      if (const answer begun = ring.begin_unpin(spare); begun < 0) return begun;
      unpinning_bytes += slots.pinned(spare);
      slots.set_pinned(spare, 0);
    }
    return wait_for_unpins();
  }

  /// The locked memory that a mapping counts as, at most: of a huge page that it has a part of, the
  /// whole page. Units: bytes.
  [[nodiscard]] static std::uint64_t charged_bytes(mapping const& what) noexcept {
    const page_sizes sizes = sizes_of_page_tables(Kernel::page_size());
    const page_sizes smaller{sizes.mask & ~sizes.largest()};
    const std::uint64_t huge =
        what.memory == memory_kind::hugetlb ? sizes.largest() : smaller.largest();
    const std::uint64_t before = what.host.value - round_down(what.host.value, huge);
    return round_up(before + what.where.size(), huge);
  }
  /// What the kernel pins now: slots that are full, or emptied and not yet confirmed.
  [[nodiscard]] std::uint64_t pinned_bytes() const noexcept {
    return slots.pinned() + unpinning_bytes;
  }

  io_uring_options options;
  io_uring_ring<Kernel> ring;
  slot_chains slots;
  iova_table<slot_chain> table;
  endpoint_registry groups;
  std::uint32_t spare = 0;
  /// Bytes in slots that have been emptied and whose tags have not arrived.
  std::uint64_t unpinning_bytes = 0;

 private:
  process_mark made_by_;
  mutable std::mutex mutex_;

  /// Pins those slots of a row that are not pinned yet.
  [[nodiscard]] answer pin_row(std::size_t row) noexcept {
    const mapping what = table[row];
    std::uint64_t offset = 0;
    const std::uint64_t size = what.where.size();
    for (std::uint32_t slot = table.payload(row).head; slot != slot_chains::end;
         slot = slots.next(slot)) {
      const std::uint64_t bytes = std::min(options.bytes_per_slot, size - offset);
      if (slots.pinned(slot) == 0) {
        if (const answer pinned = ring.pin(slot, what.host + offset, bytes); pinned < 0)
          return pinned;
        slots.set_pinned(slot, bytes);
      }
      offset += bytes;
    }
    return 0;
  }
  /// Begins to empty the pinned slots of the rows: tries all of them and returns the first failure.
  [[nodiscard]] answer begin_unpin(table_run run) noexcept {
    answer first = 0;
    for (std::size_t row = run.from; row != run.to; row = table.next(row)) {
      for (std::uint32_t slot = table.payload(row).head; slot != slot_chains::end;
           slot = slots.next(slot)) {
        if (slots.pinned(slot) == 0) continue;
        const answer begun = ring.begin_unpin(slot);
        if (begun >= 0) {
          unpinning_bytes += slots.pinned(slot);
          slots.set_pinned(slot, 0);
        } else if (first == 0) {
          first = begun;
        }
      }
    }
    return first;
  }
  [[nodiscard]] answer wait_for_unpins() noexcept {
    const answer waited = ring.wait_for_unpins();
    if (waited >= 0) unpinning_bytes = 0;
    return waited;
  }

  /// The error for a refused pin, with what to do about it.
  [[nodiscard]] error refusal(const char* operation, answer why, std::size_t row,
                              table_run run) const noexcept {
    const error plain = error::from_errno(operation, static_cast<int>(-why)).at(table.where(row));
    if (why == -ENOMEM) {
      std::uint64_t wanted = 0;
      for (std::size_t i = row; i != run.to; i = table.next(i)) wanted += charged_bytes(table[i]);
      return advise_on_locked_memory<Kernel>(plain, locked_by::user, wanted);
    }
    if (why == -EFAULT || why == -EOPNOTSUPP) {
      mapping for_writing = table[row];  // io_uring pins for nothing less
      for_writing.rights = access::read_write;
      return why_not_pinned<Kernel>(operation, for_writing);
    }
    return plain;
  }
};

}  // namespace tether::detail
