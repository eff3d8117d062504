// SPDX-License-Identifier: BSL-1.0
// The shared files that this process has mapped. *The file is the memory; a block is a window of
// it* (law 26): address space is reserved for the whole file, and the windows asked for are made
// accessible. So a memory table that is sent again, or the same files cut otherwise, names memory
// that is mapped already, and nothing has to be unmapped.
//
//     file          | window |      window |                  |
//     host  +-------|--------|-------------|------------------+   PROT_NONE but for the windows
//           ^ host, aligned to a large page, so that the kernel can map large pages
//
// The reservation is a PROT_NONE mapping of the file, and mprotect opens its windows, so that a
// failure leaves no gap that another thread's mmap could fall into.
#pragma once

#include <tether/core/label.hpp>
#include <tether/topology/detail/file_registry.hpp>
#include <tether/topology/detail/memory_window.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/page_sizes.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <system_error>
#include <utility>

namespace tether::detail {

/// Makes windows of files. Thread-safe: two threads that receive one file at once get one memory.
template <class Kernel>
class shared_files {
 public:
  using window_result = result<std::shared_ptr<memory_window const>>;

  /// The window asked for. Units: bytes of the file; `first` and `size` are multiples of the
  /// record's page size, within `file_size`.
  struct request {
    const char* operation;
    label name;
    std::uint64_t first;
    std::uint64_t size;
    std::uint64_t file_size;
    bool is_new = false;  ///< made just now: it cannot be mapped already
  };

  /// Requires: `record` has the descriptor, identity, kind, method and page size. It is kept only
  /// for a file not mapped yet. A file that has outgrown its reservation is extended in place or,
  /// if the addresses there are taken, is other memory; so is one that was only mapped for reading,
  /// if it is to be written. All memory of one file has one guard.
  /// Fails: the kernel's errno; not enough memory; nothing is left behind.
  static window_result window(request const& asked,
                              std::unique_ptr<memory_backing> record) noexcept {
    TETHER_TRY {
      auto fresh = std::make_shared<memory_window>();
      fresh->size = asked.size;
      fresh->name = asked.name;
      file_registry& all = registry_of<Kernel>.value;
      const std::lock_guard changing{all.changing};
      fresh->writable = record->writable();
      memory_backing* const first = asked.is_new ? nullptr : all.newest;
      for (memory_backing* one = first; one != nullptr; one = one->older()) {
        if (!is_same(*one, *record)) continue;
        record->file_guard_ = one->file_guard_;
        if ((record->writable() && !one->writable()) || !reaches(*one, asked)) continue;
        if (const auto answer = open(*one, asked); answer < 0) return refused(asked, answer);
        return joined(*one, asked, std::move(fresh));
      }
      if (!record->file_guard_) record->file_guard_ = std::make_shared<memory_guard>();
      if (const auto answer = reserve(*record, asked); answer < 0) return refused(asked, answer);
      const std::shared_ptr<memory_backing> memory{std::move(record)};
      memory->registry_ = &all;
      memory->blocks_ = 0;
      memory->join(all.newest);
      return joined(*memory, asked, std::move(fresh));
    }
    TETHER_CATCH(std::bad_alloc const&) {
      return failure(error::out_of_memory(asked.operation).of(asked.name.view()));
    }
  }

 private:
  /// A file larger than any guest's memory is mapped in parts: a sparse file costs its sender
  /// nothing, but would cost us our address space.
  static constexpr std::uint64_t largest_reservation = 16 * 1024 * GiB;

  static window_result refused(request const& asked, std::int64_t answer) noexcept {
    return failure(
        error::from_errno(asked.operation, static_cast<int>(-answer)).of(asked.name.view()));
  }
  static std::shared_ptr<memory_window const> joined(memory_backing& memory, request const& asked,
                                                     std::shared_ptr<memory_window> fresh) {
    fresh->memory = memory.shared_from_this();
    fresh->first = block_offset{asked.first - memory.file_offset_};
    ++memory.blocks_;
    return fresh;
  }
  static bool is_same(memory_backing const& a, memory_backing const& b) noexcept {
    return a.identity_.device == b.identity_.device && a.identity_.inode == b.identity_.inode &&
           a.page_size_ == b.page_size_;
  }

  /// Whether the window lies in the reservation, which is extended to its end if possible.
  static bool reaches(memory_backing& memory, request const& asked) noexcept {
    const std::uint64_t reserved_end = memory.file_offset_ + memory.size();
    const std::uint64_t end = asked.first + asked.size;
    if (asked.first < memory.file_offset_ || asked.first > reserved_end) return false;
    if (end <= reserved_end) return true;
    const std::uint64_t wanted = memory.host_.value + memory.size();
    constexpr int flags = MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    const auto answer = Kernel::mmap_at(wanted, end - reserved_end, PROT_NONE, flags,
                                        memory.descriptor_, reserved_end);
    if (answer < 0) return false;
    // before Linux 4.17 the address is only a hint
    if (static_cast<std::uint64_t>(answer) != wanted) {
      static_cast<void>(Kernel::munmap(static_cast<std::uint64_t>(answer), end - reserved_end));
      return false;
    }
    memory.size_.store(end - memory.file_offset_, std::memory_order_relaxed);
    return true;
  }

  /// Makes the window accessible; what is accessible keeps its pins. 0, or the negative errno.
  static std::int64_t open(memory_backing const& memory, request const& asked) noexcept {
    if (memory.kind_ == memory_kind::hugetlb) {
      // The reservation (NORESERVE) took no page of the pool. Mapping the window does, and
      // the pages stay reserved for the file.
      const auto taking =
          Kernel::mmap(asked.size, PROT_NONE, MAP_SHARED, memory.descriptor_, asked.first);
      if (taking < 0) return taking;
      static_cast<void>(Kernel::munmap(static_cast<std::uint64_t>(taking), asked.size));
    }
    return Kernel::mprotect(memory.host_.value + (asked.first - memory.file_offset_), asked.size,
                            memory.protection_);
  }

  /// Reserves addresses for the file, or if they run short, the window. 0, or the negative errno.
  static std::int64_t reserve(memory_backing& memory, request const& asked) noexcept {
    const std::uint64_t whole =
        std::max(round_down(asked.file_size, memory.page_size_), asked.first + asked.size);
    if (whole == asked.size) return map(memory, 0, whole, true);
    std::int64_t answer = whole > largest_reservation ? -ENOMEM : map(memory, 0, whole, false);
    if (answer == -ENOMEM) return map(memory, asked.first, asked.size, true);
    if (answer == 0) answer = open(memory, asked);
    return answer;
  }
  static std::int64_t map(memory_backing& memory, std::uint64_t first, std::uint64_t size,
                          bool opened) noexcept {
    const int protection = opened ? memory.protection_ : PROT_NONE;
    const int flags = opened ? MAP_SHARED : MAP_SHARED | MAP_NORESERVE;
    const page_sizes all = sizes_of_page_tables(Kernel::page_size());
    std::uint64_t wish = 0;
    for (std::uint64_t large = all.largest_at(0, size); large > memory.page_size_ && wish == 0;
         large = all.largest_at(0, large - 1)) {
      // Finds an aligned address by mapping more and unmapping it: for the largest page that there
      // are so many addresses for. If another thread takes it meanwhile, the kernel chooses, and
      // pages are small.
      const auto room =
          Kernel::mmap(size + large, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (room < 0) continue;
      const auto from = static_cast<std::uint64_t>(room);
      static_cast<void>(Kernel::munmap(from, size + large));
      wish = from + ((first - from) & (large - 1));
    }
    const auto answer =
        wish == 0 ? Kernel::mmap(size, protection, flags, memory.descriptor_, first)
                  : Kernel::mmap_at(wish, size, protection, flags, memory.descriptor_, first);
    if (answer < 0) return answer;
    memory.host_ = host_address{static_cast<std::uint64_t>(answer)};
    memory.size_.store(size, std::memory_order_relaxed);
    memory.file_offset_ = first;
    memory.owned_ = true;
    return 0;
  }
};

}  // namespace tether::detail
