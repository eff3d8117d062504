// SPDX-License-Identifier: BSL-1.0
// Host memory: its address, its identity, and how each kind is really given back to the host. On
// the heap behind one `ram_block`, or several of a shared file. Never moves: sections point to it.
//
//     kind                 discard really is                                     in units of
//     private_anonymous    madvise(MADV_DONTNEED)                                host pages
//     private_file         anonymous memory moved over it: DONTNEED would        host pages
//                          bring the file's bytes back
//     shared, with a file  fallocate(PUNCH_HOLE): DONTNEED would keep the page   host pages
//     shared, without      madvise(MADV_REMOVE)                                  host pages
//     hugetlb              as anonymous or shared, never a part of a page        its own pages
//     device               refused
#pragma once

#include <tether/core/label.hpp>
#include <tether/topology/detail/edit_generation.hpp>
#include <tether/topology/detail/memory_guard.hpp>

#include <tether/core/address.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/core/stop.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <sys/mman.h>
#include <utility>

namespace tether {

/// Identifies memory. Two blocks of equal identity and size are the same memory, so a memory table
/// that is sent again names nothing new (law 26). Anonymous and all borrowed memory has no file:
/// device and inode are 0 and `offset` is its host address.
struct backing_identity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;

  friend constexpr bool operator==(backing_identity const&,
                                   backing_identity const&) noexcept = default;
};

class memory_backing;

namespace detail {

/// The system calls that memory needs once it is made, so that its users are not templates of the
/// kernel. Cost: an indirect call, negligible beside the system call.
struct memory_calls {
  std::int64_t (*madvise)(std::uint64_t, std::uint64_t, int) noexcept;
  std::int64_t (*fallocate)(int, int, std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*mmap)(std::uint64_t, int, int, int, std::uint64_t) noexcept;
  std::int64_t (*move_mapping)(std::uint64_t, std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*munmap)(std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*seals)(int) noexcept;
  std::int64_t (*close)(int) noexcept;
};

template <class Kernel>
inline constexpr memory_calls memory_calls_of{
    &Kernel::madvise, &Kernel::fallocate, &Kernel::mmap, &Kernel::move_mapping,
    &Kernel::munmap,  &Kernel::seals,     &Kernel::close};

template <class>
class memory_sources;
template <class>
class shared_files;

enum class discard_method : std::uint8_t {
  refuse,
  forget_private,
  replace_private,
  remove_shared,
  punch_hole
};

/// The shared files that are mapped now, an intrusive list, so that one received again is found.
struct file_registry {
  std::mutex changing;
  memory_backing* newest = nullptr;
};

/// MADV_POPULATE_WRITE, Linux 5.14: older headers lack it.
inline constexpr int populate_write = 23;

}  // namespace detail

/// Host memory. Made and freed by `ram_block` alone. For a shared file, all of it, accessible where
/// blocks show it: offsets count from the file's beginning, sections of the same bytes are equal.
class memory_backing : public std::enable_shared_from_this<memory_backing> {
 public:
  memory_backing(memory_backing const&) = delete;
  memory_backing& operator=(memory_backing const&) = delete;
  ~memory_backing() {
    if (unmap_and_close() < 0) close_file();
  }

  [[nodiscard]] host_address host() const noexcept { return host_; }
  /// Bytes. Grows with a file that has grown, if the addresses behind it are free.
  [[nodiscard]] std::uint64_t size() const noexcept {
    return size_.load(std::memory_order_relaxed);
  }
  /// The unit of discard, in bytes: the host's page, or the huge page.
  [[nodiscard]] std::uint64_t page_size() const noexcept { return page_size_; }
  [[nodiscard]] memory_kind kind() const noexcept { return kind_; }
  [[nodiscard]] std::string_view name() const noexcept { return name_.view(); }
  [[nodiscard]] backing_identity identity() const noexcept { return identity_; }
  /// Where in its file a byte lies; descriptor -1 if it has none. For backends that map by file.
  [[nodiscard]] file_source source_at(block_offset at) const noexcept {
    return {descriptor_, file_offset_ + at.value};
  }
  [[nodiscard]] std::byte* data() const noexcept {
    return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(host_.value));
  }

  /// Gives the bytes back to the host; the next read finds zeros in a new page. `leave`: a gate's
  /// permit, needed even off the map: an attach under way still maps the view it began with.
  /// Fails: `discards_disabled` if the permit was not granted; `other_gate` if another one guards
  /// this memory; `invalid_extent`; `past_the_end`; `not_aligned` if it is not whole pages of this
  /// block (the kernel would round a length up and take a page more); `unsupported` for a device's
  /// memory; the kernel's errno.
  [[nodiscard]] result<void> discard(extent<block_offset> what,
                                     discard_permit const& leave) noexcept {
    if (!leave.granted())
      return failure(error{"discard", errc::discards_disabled}.at(what).of(name()).advise(
          "ask the gate for a permit"));
    const detail::memory_guard::for_a_while discarding{guard_, leave.gate()};
    if (!discarding)
      return failure(
          error{"discard", errc::other_gate}.at(what).of(name()).advise(detail::one_gate));
    if (!what.valid()) return failure(error{"discard", errc::invalid_extent}.at(what).of(name()));
    if (what.last.value >= size())
      return failure(error{"discard", errc::past_the_end}.at(what).of(name()));
    if (!what.aligned_to(page_size_))
      return failure(error{"discard", errc::not_aligned}.at(what).of(name()).advise(
          "use multiples of {} bytes", page_size_));
    std::int64_t answer = -EINTR;
    while (answer == -EINTR) {
      switch (method_) {
        case detail::discard_method::forget_private:
          answer = calls_->madvise(host_at(what), what.size(), MADV_DONTNEED);
          break;
        case detail::discard_method::replace_private: answer = replace(what); break;
        case detail::discard_method::remove_shared:
          answer = calls_->madvise(host_at(what), what.size(), MADV_REMOVE);
          break;
        case detail::discard_method::punch_hole:
          answer = calls_->fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     file_offset_ + what.first.value, what.size());
          break;
        case detail::discard_method::refuse:
          return failure(error{"discard", errc::unsupported}.at(what).of(name()));
      }
    }
    if (answer < 0)
      return failure(error::from_errno("discard", static_cast<int>(-answer)).at(what).of(name()));
    return {};
  }

  /// Faults their pages in for writing; contents stay. Law 15: without it Linux 6.1 pins the shared
  /// zero page behind a read-only mapping of private memory; the CPU's next write goes elsewhere.
  /// Cost: a page fault for each absent page. Safe against concurrent writers.
  /// Fails: `invalid_extent`; `past_the_end`; `memory_gone` if the file behind it shrank;
  /// `unsupported` for a device's memory; the kernel's errno. Pages faulted in by then stay
  /// resident.
  [[nodiscard]] result<void> populate(extent<block_offset> what) noexcept {
    if (!what.valid()) return failure(error{"populate", errc::invalid_extent}.at(what).of(name()));
    if (what.last.value >= size())
      return failure(error{"populate", errc::past_the_end}.at(what).of(name()));
    if (kind_ == memory_kind::device)
      return failure(error{"populate", errc::unsupported}.at(what).of(name()));
    const extent<block_offset> pages{block_offset{round_down(what.first.value, page_size_)},
                                     block_offset{what.last.value | (page_size_ - 1)}};
    // First stop KSM from merging it, or the zero page may return. EINVAL: a kernel without KSM.
    std::int64_t answer =
        is_private(kind_) ? calls_->madvise(host_at(pages), pages.size(), MADV_UNMERGEABLE) : 0;
    if (answer >= 0 || answer == -EINVAL) answer = -EINTR;
    while (answer == -EINTR)
      answer = calls_->madvise(host_at(pages), pages.size(), detail::populate_write);
    // A kernel that lacks the advice refuses it even for zero bytes. Any other EINVAL: the memory
    // is not writable, and must not be touched.
    if (answer == -EINVAL && calls_->madvise(host_.value, 0, detail::populate_write) == -EINVAL) {
      touch_each(pages);
      answer = 0;
    }
    if (answer == -EFAULT) return failure(error{"populate", errc::memory_gone}.at(what).of(name()));
    if (answer < 0)
      return failure(error::from_errno("populate", static_cast<int>(-answer)).at(what).of(name()));
    return {};
  }

  /// From now on only permits of `gate` discard it. Called by each address space that shows it.
  /// Fails (false): another gate guards it.
  [[nodiscard]] bool guard(gate_id gate) noexcept { return guard_.guard(gate); }
  /// Requires: an earlier `guard` that succeeded.
  void unguard() noexcept { guard_.unguard(); }

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
  /// Changed by every edit of a map that shows this memory: cached look-ups are void then.
  [[nodiscard]] detail::edit_generation& generation() noexcept { return generation_; }

 private:
  friend class ram_block;
  template <class Kernel>
  friend class detail::memory_sources;
  template <class Kernel>
  friend class detail::shared_files;

  /// In place of a reference count: the memory was freed, and cannot be referred to any more.
  static constexpr std::uint32_t freed = ~std::uint32_t{0};

  explicit memory_backing(label name, detail::memory_calls const& calls) noexcept
      : calls_{&calls}, name_{name} {}

  [[nodiscard]] std::uint64_t host_at(extent<block_offset> what) const noexcept {
    return host_.value + what.first.value;
  }

  /// One write fault per page, by compare-and-exchange with the present value: no vCPU's write is
  /// lost, and no compiler turns it into a load, as some do with `fetch_or(0)`.
  void touch_each(extent<block_offset> pages) noexcept {
    const std::uint64_t step = linux_kernel::page_size();
    for (std::uint64_t at = pages.first.value; at <= pages.last.value; at += step) {
      std::atomic_ref<unsigned char> byte{*reinterpret_cast<unsigned char*>(data() + at)};
      unsigned char now = byte.load(std::memory_order_relaxed);
      while (!byte.compare_exchange_weak(now, now, std::memory_order_relaxed)) {}
    }
  }

  /// Replaces a private file's bytes, and copy-on-write pages, by zeros: mapped elsewhere first, so
  /// that a failure keeps the bytes, then moved over them, which is atomic for concurrent accesses.
  [[nodiscard]] std::int64_t replace(extent<block_offset> what) noexcept {
    const auto made =
        calls_->mmap(what.size(), protection_, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made < 0) return made;
    const auto zeros = static_cast<std::uint64_t>(made);
    auto answer = calls_->madvise(zeros, what.size(), MADV_DONTFORK);
    if (answer >= 0) answer = calls_->move_mapping(zeros, what.size(), host_at(what));
    if (answer < 0) static_cast<void>(calls_->munmap(zeros, what.size()));
    return answer;
  }

  /// One of its blocks goes. Returns 0; nullopt if it is the last and the memory is referenced; the
  /// negative errno of munmap: then the block is as before, unless it goes `for_good`.
  [[nodiscard]] std::optional<std::int64_t> leave(bool for_good) noexcept {
    {
      const auto locked = lock_registry();
      if (blocks_ > 1) {
        --blocks_;
        return 0;
      }
      std::uint32_t none = 0;
      if (!references_.compare_exchange_strong(none, freed, std::memory_order_acq_rel))
        return std::nullopt;
      unlink();
    }
    const auto answer = unmap_and_close();  // without the lock: unmapping much memory takes long
    if (answer < 0 && !for_good) {
      const auto locked = lock_registry();
      references_.store(0, std::memory_order_release);
      link();
    }
    return answer;
  }

  [[nodiscard]] std::unique_lock<std::mutex> lock_registry() const noexcept {
    return registry_ == nullptr ? std::unique_lock<std::mutex>{}
                                : std::unique_lock{registry_->changing};
  }
  void link() noexcept {
    if (registry_ != nullptr) older_ = std::exchange(registry_->newest, this);
  }
  void unlink() noexcept {
    if (registry_ == nullptr) return;
    memory_backing** at = &registry_->newest;
    while (*at != this) at = &(*at)->older_;
    *at = older_;
  }

  /// Unmaps owned memory, closes the file. Ensures: after a failure it is as before.
  [[nodiscard]] std::int64_t unmap_and_close() noexcept {
    if (owned_ && host_.value != 0) {
      if (const auto answer = calls_->munmap(host_.value, size()); answer < 0) return answer;
      owned_ = false;
    }
    close_file();
    return 0;
  }
  /// Linux releases the descriptor whatever close returns.
  void close_file() noexcept {
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
  bool owned_ = false;
  /// blocks that show it; guarded by the registry's lock, if there is one
  std::uint32_t blocks_ = 1;
  detail::file_registry* registry_ = nullptr;
  memory_backing* older_ = nullptr;  ///< next in the registry's list
  std::atomic<std::uint32_t> references_{0};
  detail::memory_guard guard_;
  detail::edit_generation generation_;
  label name_;
};

}  // namespace tether
