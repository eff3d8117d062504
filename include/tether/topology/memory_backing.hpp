// SPDX-License-Identifier: BSL-1.0
// Host memory: its address, its identity, and how each kind of it is really discarded. It belongs
// to one `ram_block`, or to several of one shared file, and never moves: sections point to it.
//
//     kind                 discard really is                                     in units of
//     private_anonymous    madvise(MADV_DONTNEED), or process_madvise for many   host pages
//     private_file         anonymous memory moved over it: DONTNEED would        host pages
//                          bring the file's bytes back
//     shared               madvise(MADV_REMOVE): DONTNEED would keep the page;   host pages
//                          fallocate(PUNCH_HOLE) where that is refused
//     hugetlb              as anonymous or shared, never a part of a page        its own pages
//     device               refused
#pragma once

#include <tether/core/label.hpp>
#include <tether/topology/detail/discard_method.hpp>
#include <tether/topology/detail/edit_generation.hpp>
#include <tether/topology/detail/file_registry.hpp>
#include <tether/topology/detail/keeping.hpp>
#include <tether/topology/detail/memory_calls.hpp>
#include <tether/topology/detail/memory_guard.hpp>
#include <tether/topology/detail/referrers.hpp>

#include <tether/core/address.hpp>
#include <tether/core/detail/list_link.hpp>
#include <tether/core/detail/populate_pages.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/core/stop.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <sys/mman.h>
#include <utility>

namespace tether {

class population;
namespace detail {
template <class>
class memory_sources;
template <class>
class shared_files;
class run_vector;
class unfreed_blocks;
}  // namespace detail

/// Host memory. Only `ram_block` makes and frees it. The memory of a shared file is the whole file,
/// accessible where blocks show it: offsets count from the beginning of what is mapped of the file,
/// and sections that show the same bytes are equal.
class memory_backing : public std::enable_shared_from_this<memory_backing>,
                       private detail::list_link<memory_backing> {
 public:
  memory_backing(memory_backing const&) = delete;
  memory_backing& operator=(memory_backing const&) = delete;
  ~memory_backing() {
    if (unmap_and_close() < 0) close_file();
  }

  /// Where this process sees its first byte.
  [[nodiscard]] host_address host() const noexcept { return host_; }
  /// Bytes. Grows with a file that has grown, if the addresses behind it are free.
  [[nodiscard]] std::uint64_t size() const noexcept {
    return size_.load(std::memory_order_relaxed);
  }
  /// The unit of discard, in bytes: the host's page, or the huge page.
  [[nodiscard]] std::uint64_t page_size() const noexcept { return page_size_; }
  [[nodiscard]] memory_kind kind() const noexcept { return kind_; }
  /// Whether it may be written. False where a file is open for reading only: then it is good for
  /// ROM and read-only regions, and neither discarded nor populated.
  [[nodiscard]] bool writable() const noexcept { return writable_; }
  [[nodiscard]] std::string_view name() const noexcept { return name_.view(); }
  [[nodiscard]] backing_identity identity() const noexcept { return identity_; }
  /// Where in its file a byte lies; descriptor -1 if it has none. For backends that map by file.
  [[nodiscard]] file_source source_at(block_offset at) const noexcept {
    return {descriptor_, file_offset_ + at.value};
  }
  [[nodiscard]] std::byte* data() const noexcept {
    return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(host_.value));
  }

  /// Gives the bytes back to the host; the next read finds zeros in a new page. A gate's permit is
  /// needed even for memory that no map shows: an attach under way maps the view it began with.
  /// Fails: `discards_disabled` if the permit was not granted, or is a coordinated one, of which
  /// the mappers must be told (`population`); `other_gate` if another one guards this memory;
  /// `invalid_extent`; `past_the_end`; `not_aligned` if it is not whole pages of this block (the
  /// kernel would round a length up); `unsupported` for a device's memory; the kernel's errno.
  [[nodiscard]] result<void> discard(extent<block_offset> what,
                                     discard_permit const& permit) noexcept {
    if (!permit.coordinated()) return discard_pages(what, permit);
    return failure(error{"discard", errc::discards_disabled}.at(what).of(name()).advise(
        "nobody would unmap it first: divide the block, and discard its units"));
  }
  /// Which units of it are there; null unless it is divided into units.
  [[nodiscard]] tether::population* population() const noexcept { return population_.get(); }

  /// Where locked memory from `at` on ends at the soonest: none of it can be discarded. `at` itself
  /// if it is not locked. Cost: asks the kernel; for the time after a discard has failed.
  [[nodiscard]] block_offset locked_until(block_offset at) const noexcept {
    const std::uint64_t end = calls_->locked_until(host_.value + at.value);
    return end == 0 ? at : block_offset{end - host_.value};
  }

  /// `why`, or if that is `memory_gone`, that the file system behind it is full.
  [[nodiscard]] error why_gone(error const& why, extent<block_offset> what) const noexcept {
    if (!why.is(errc::memory_gone) || descriptor_ < 0 ||
        !calls_->file_system_is_full(descriptor_, file_offset_ + what.last.value + 1))
      return why;
    return why.because(ENOSPC).advise(is_full);
  }

  /// Faults the pages in for writing; their contents stay. Law 15: without it Linux 6.1 pins the
  /// shared zero page behind a read-only mapping of private memory, and the CPU's next write goes
  /// to another page. Cost: a page fault for each absent page. Safe against concurrent writers.
  /// Fails: `invalid_extent`; `past_the_end`; `memory_gone` if the file behind it shrank; ENOSPC if
  /// its tmpfs is full; `unsupported` for a device's memory; `access_denied`; the kernel's errno.
  /// Pages faulted in by then stay resident.
  [[nodiscard]] result<void> populate(extent<block_offset> what) noexcept {
    const auto refused = [&](errc why) { return error{"populate", why}.at(what).of(name()); };
    if (!what.valid()) return failure(refused(errc::invalid_extent));
    if (what.last.value >= size()) return failure(refused(errc::past_the_end));
    if (kind_ == memory_kind::device) return failure(refused(errc::unsupported));
    if (!writable()) return failure(refused(errc::access_denied).advise(only_read));
    const extent<block_offset> pages{block_offset{round_down(what.first.value, page_size_)},
                                     block_offset{what.last.value | (page_size_ - 1)}};
    const auto answer =
        detail::populate_pages(*calls_, host_at(pages), pages.size(), is_private(kind_));
    if (answer >= 0) return {};
    if (answer == -EFAULT)
      return failure(why_gone(error{"populate", errc::memory_gone}.at(what).of(name()), what));
    return failure(error::from_errno("populate", static_cast<int>(-answer)).at(what).of(name()));
  }

  /// From now on only permits of `gate` discard it. Each address space that shows it calls this.
  /// Fails (false): another gate guards it.
  [[nodiscard]] bool guard(gate_id gate) noexcept { return the_guard().guard(gate); }
  /// Requires: an earlier `guard` that succeeded.
  void unguard() noexcept { the_guard().unguard(); }

  /// Takes a reference (for a placed region, a view): referenced memory cannot be freed.
  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  /// As `retain`, for memory that may have been freed meanwhile. Returns whether it is still there.
  [[nodiscard]] bool retain_if_there() noexcept {
    auto now = references_.load(std::memory_order_relaxed);
    while (now != freed &&
           !references_.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel)) {}
    return now != freed;
  }
  /// Requires: an earlier `retain`; without one the program stops.
  void release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 0)
      stop(
          "tether[R2]: memory was released more often than it was retained, so it could be freed "
          "under a device");
  }
  [[nodiscard]] std::uint32_t references() const noexcept {
    const auto now = references_.load(std::memory_order_acquire);
    return now == freed ? 0 : now;
  }
  /// As what it is shown.
  [[nodiscard]] detail::referrers& referrers() noexcept { return referrers_; }
  /// Every edit of a map that shows this memory changes it: cached look-ups are void then.
  [[nodiscard]] detail::edit_generation& generation() noexcept { return generation_; }

 private:
  friend class ram_block;
  friend class detail::list_link<memory_backing>;
  friend class detail::run_vector;
  friend class detail::unfreed_blocks;
  friend class tether::population;
  template <class Kernel>
  friend class detail::memory_sources;
  template <class Kernel>
  friend class detail::shared_files;

  /// In place of a reference count: the memory was freed, and `retain_if_there` fails.
  static constexpr std::uint32_t freed = ~std::uint32_t{0};
  explicit memory_backing(label name, detail::memory_calls const& calls) noexcept
      : calls_{&calls}, name_{name} {}

  static constexpr const char* is_locked =
      "it is locked (mlock), which forbids discards: munlock it, or use other memory";
  static constexpr const char* is_full =
      "the tmpfs of its file is full: enlarge it, or free some of it";
  static constexpr const char* only_read = "its file is open for reading only";
  [[nodiscard]] result<void> discard_pages(extent<block_offset> what,
                                           discard_permit const& permit) noexcept {
    const auto refused = [&](errc why) { return error{"discard", why}.at(what).of(name()); };
    if (!permit.granted())
      return failure(refused(errc::discards_disabled).advise("ask the gate for a permit"));
    const detail::memory_guard::scoped_guard discarding{the_guard(), permit.gate()};
    if (!discarding) return failure(refused(errc::other_gate).advise(detail::one_gate));
    if (!what.valid()) return failure(refused(errc::invalid_extent));
    if (what.last.value >= size()) return failure(refused(errc::past_the_end));
    if (!what.aligned_to(page_size_))
      return failure(refused(errc::not_aligned).advise("use multiples of {} bytes", page_size_));
    if (!writable()) return failure(refused(errc::access_denied).advise(only_read));
    if (method_ == detail::discard_method::refuse) return failure(refused(errc::unsupported));
    const auto answer = detail::discard_pages(*calls_, method_,
                                              {.host = host_at(what),
                                               .size = what.size(),
                                               .protection = protection_,
                                               .descriptor = descriptor_,
                                               .file_offset = file_offset_ + what.first.value});
    if (answer >= 0) return {};
    const error why = error::from_errno("discard", static_cast<int>(-answer)).at(what).of(name());
    const bool locked = answer == -EINVAL && calls_->any_locked(host_at(what), what.size());
    return failure(locked ? why.advise(is_locked) : why);
  }
  [[nodiscard]] detail::memory_guard& the_guard() noexcept {
    return file_guard_ ? *file_guard_ : own_guard_;
  }
  [[nodiscard]] std::uint64_t host_at(extent<block_offset> what) const noexcept {
    return host_.value + what.first.value;
  }

  /// Uncounts one block, and frees the memory with the last. Returns 0; nullopt if that is still
  /// referenced; munmap's negative errno: the block is as before, unless removed `for_good`.
  [[nodiscard]] std::optional<std::int64_t> remove_block(bool for_good) noexcept {
    {
      const auto locked = lock_registry();
      if (blocks_ > 1) {
        --blocks_;
        return 0;
      }
      std::uint32_t none = 0;
      if (!references_.compare_exchange_strong(none, freed, std::memory_order_acq_rel))
        return std::nullopt;
      leave();
    }
    const auto answer = unmap_and_close();  // without the lock: unmapping much memory takes long
    if (answer < 0 && !for_good) {
      const auto locked = lock_registry();
      references_.store(0, std::memory_order_release);
      if (registry_ != nullptr) join(registry_->newest);
    }
    return answer;
  }

  [[nodiscard]] std::unique_lock<std::mutex> lock_registry() const noexcept {
    return registry_ == nullptr ? std::unique_lock<std::mutex>{}
                                : std::unique_lock{registry_->changing};
  }

  /// Unmaps the memory if it is owned, and closes the file. Ensures: a failure changes nothing.
  [[nodiscard]] std::int64_t unmap_and_close() noexcept {
    // A child of a fork has no private memory of its parent's, and may have its own there.
    if (owned_ && host_.value != 0 &&
        !(method_ == detail::discard_method::drop_private && keeping_.made_by.is_inherited())) {
      if (const auto answer = calls_->munmap(host_.value, size()); answer < 0) return answer;
      owned_ = false;
    }
    close_file();
    return 0;
  }
  void close_file() noexcept {  // Linux releases the descriptor whatever close returns
    if (descriptor_ >= 0) static_cast<void>(calls_->close(std::exchange(descriptor_, -1)));
  }

  detail::memory_calls const* calls_;
  host_address host_{};
  std::atomic<std::uint64_t> size_{0};
  std::uint64_t page_size_ = 0;
  std::uint64_t file_offset_ = 0;
  backing_identity identity_{};
  int descriptor_ = -1;
  int protection_ = PROT_READ | PROT_WRITE;
  memory_kind kind_ = memory_kind::private_anonymous;
  detail::discard_method method_ = detail::discard_method::refuse;
  bool writable_ = true;
  bool owned_ = false;
  std::uint32_t blocks_ = 1;  ///< that show it; guarded by the registry's lock, if there is one
  detail::file_registry* registry_ = nullptr;
  std::atomic<std::uint32_t> references_{0};
  detail::referrers referrers_;
  detail::keeping keeping_{};
  detail::memory_guard own_guard_;
  /// Instead of it, for shared files: a file may be mapped in several parts, and for reading only.
  std::shared_ptr<detail::memory_guard> file_guard_;
  detail::edit_generation generation_;
  std::shared_ptr<tether::population> population_;
  label name_;
};

}  // namespace tether
