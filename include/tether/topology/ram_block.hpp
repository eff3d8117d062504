// SPDX-License-Identifier: BSL-1.0
// A block of guest memory and its ownership: allocated here, borrowed from the user, or received as
// a descriptor. A block that is still referred to cannot be freed (law 26).
//
//     ram_block --owns--> window --shares--> memory_backing <--points---- section
//                                                           <--retains--- placed region, view
#pragma once

#include <tether/topology/detail/memory_sources.hpp>
#include <tether/topology/detail/memory_window.hpp>
#include <tether/topology/detail/unfreed_blocks.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/address.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/stop.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace tether {

/// Requirements for a received file. `seals` (F_SEAL_*, of fcntl(2)) must be set on it: without
/// F_SEAL_SHRINK another process that has it can truncate it, and the next access is a SIGBUS.
struct file_requirements {
  unsigned seals = 0;  ///< the `F_SEAL_...` that the file must have
};

/// The owning handle of a block. Movable; sections keep pointing to the same memory. One that was
/// moved from or freed may be assigned, destroyed and asked whether it is there, and nothing else.
class ram_block {
 public:
  /// New memory of `size` bytes, all zeros. `page_size` 0 means the kind's default. Huge pages are
  /// taken from the pool at once, so a pool that is too small fails here and not at the first
  /// access.
  /// Ensures: private memory is not inherited by a fork, which could not share a pinned page.
  /// Shared memory is a memfd, sealed against changes of its size and seals: its descriptor can be
  /// passed on.
  /// Fails: `invalid_extent` for no bytes, `not_aligned`, `unsupported` for device memory, the
  /// kernel's errno; nothing is left behind.
  template <class Kernel = linux_kernel>
  [[nodiscard]] static result<ram_block> allocate(std::string_view name, std::uint64_t size,
                                                  memory_kind kind = memory_kind::private_anonymous,
                                                  std::uint64_t page_size = 0) noexcept {
    return finish(detail::memory_sources<Kernel>::allocate(name, size, kind, page_size));
  }

  /// The user's memory: never unmapped here. It must outlive the block. Private memory is marked
  /// MADV_DONTFORK and stays so. `page_size` is the unit of discard, 0 for the kind's own; for huge
  /// pages it must be their size. The kernel is asked once what is mapped there, and `kind` must
  /// agree, except for device memory, which is never discarded. Discards of a private file's memory
  /// cost a mapping (vm.max_map_count) for each run of pages.
  /// Fails: as `allocate`; `not_aligned` if it does not begin and end on a page; `not_mapped`;
  /// `wrong_kind`, which says what it is and which kind to name; `unsupported`; the errno where
  /// /proc cannot be read.
  template <class Kernel = linux_kernel>
  [[nodiscard]] static result<ram_block> borrow(std::string_view name, host_address host,
                                                std::uint64_t size, memory_kind kind,
                                                std::uint64_t page_size = 0) noexcept {
    return finish(detail::memory_sources<Kernel>::borrow(name, host, size, kind, page_size));
  }

  /// Memory behind a descriptor, mapped shared. The descriptor is duplicated; `fd` stays the
  /// caller's. *The file is the memory, a block is a window of it*: blocks of one file share one
  /// `memory_backing`, so replacing one by another that shows the same bytes changes nothing for a
  /// device. It is mapped until the last one is freed. If a file outgrows its reservation and the
  /// addresses there are taken, its rest is new memory.
  /// A descriptor that is open for reading only is good for ROM and read-only regions: placing it
  /// as RAM, discarding and populating it are refused.
  /// Fails: `bad_descriptor` unless it is a file of tmpfs (a memfd is) or hugetlbfs, open for
  /// reading, sealed as `required`, and not sealed against writing if it is open for that;
  /// `past_the_end` if it is too short; `not_aligned`; the errno.
  template <class Kernel = linux_kernel>
  [[nodiscard]] static result<ram_block> from_descriptor(std::string_view name, int fd,
                                                         std::uint64_t file_offset,
                                                         std::uint64_t size,
                                                         file_requirements required = {}) noexcept {
    return finish(detail::memory_sources<Kernel>::from_descriptor(name, fd, file_offset, size,
                                                                  required.seals));
  }

  ram_block(ram_block&&) noexcept = default;
  ram_block& operator=(ram_block&& other) noexcept {
    if (this != &other) {
      free_or_stop();
      window_ = std::move(other.window_);
    }
    return *this;
  }
  /// Frees the memory, unless another block shows the same file. Requires: where it is freed, no
  /// region and no view of a map refers to it, else the program stops, and names the last of them
  /// (`tether[R1]`). Memory that a device may still reach, because its container could not be torn
  /// down, is freed when it cannot any more, or by the kernel with the process; that is said once
  /// (`tether[R3]`).
  ~ram_block() { free_or_stop(); }

  /// False once freed or moved from; nothing else may be called then (`tether[R4]`).
  [[nodiscard]] explicit operator bool() const noexcept { return window_ != nullptr; }
  /// The memory that it shows, from `first()` on; for a shared file, that of the whole file.
  [[nodiscard]] memory_backing& backing() const noexcept { return *window().memory; }
  [[nodiscard]] block_offset first() const noexcept { return window().first; }
  [[nodiscard]] host_address host() const noexcept {
    return backing().host() + window_->first.value;
  }
  /// Bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return window().size; }
  [[nodiscard]] std::uint64_t page_size() const noexcept { return backing().page_size(); }
  [[nodiscard]] memory_kind kind() const noexcept { return backing().kind(); }
  /// False if its descriptor is open for reading only.
  [[nodiscard]] bool writable() const noexcept { return window().writable; }
  [[nodiscard]] backing_identity identity() const noexcept {
    auto that = backing().identity();
    if (that.inode != 0) that.offset = backing().source_at(window_->first).offset;
    return that;
  }
  [[nodiscard]] std::byte* data() const noexcept { return backing().data() + window_->first.value; }
  [[nodiscard]] std::string_view name() const noexcept { return window().name.view(); }
  /// The seals that its file has now (F_SEAL_*). Fails: `unsupported` if it has no file of its own;
  /// the kernel's errno.
  [[nodiscard]] result<unsigned> seals() const noexcept {
    if (backing().descriptor_ < 0)
      return failure(error{"ask for seals", errc::unsupported}.of(name()));
    const auto answer = backing().calls_->seals(backing().descriptor_);
    if (answer < 0)
      return failure(error::from_errno("ask for seals", static_cast<int>(-answer)).of(name()));
    return static_cast<unsigned>(answer);
  }
  /// As `memory_backing::discard`, counted from the block's beginning.
  [[nodiscard]] result<void> discard(extent<block_offset> what,
                                     discard_permit const& permit) const noexcept {
    if (auto inside = check("discard", what); !inside) return inside;
    return backing().discard(what.moved_to(window_->first + what.first.value), permit);
  }
  /// As `memory_backing::populate`, counted from the block's beginning.
  [[nodiscard]] result<void> populate(extent<block_offset> what) const noexcept {
    if (auto inside = check("populate", what); !inside) return inside;
    return backing().populate(what.moved_to(window_->first + what.first.value));
  }

  /// Gives the memory back to the host, unless another block shows the same file. Idempotent.
  /// Fails: `still_in_use` if it is the last one and a placed region or a view refers to the
  /// memory; the kernel's errno. Then the block is unchanged.
  [[nodiscard]] result<void> free() noexcept {
    if (!window_) return {};
    const auto answer = backing().remove_block(false);
    if (!answer)
      return failure(error{"free", errc::still_in_use}
                         .of(name())
                         .blocked_by(backing().referrers().newest().view())
                         .advise("{} region{|s} or view{|s} {refers|refer} to it",
                                 backing().references()));
    if (*answer < 0)
      return failure(error::from_errno("free", static_cast<int>(-*answer)).of(name()));
    window_.reset();
    return {};
  }

 private:
  friend class region;

  explicit ram_block(std::shared_ptr<detail::memory_window const> window) noexcept
      : window_{std::move(window)} {}

  [[nodiscard]] detail::memory_window const& window() const noexcept {
    if (window_ == nullptr) [[unlikely]]
      stop(
          "tether[R4]: a RAM block was used after it was freed or moved from: use the block that "
          "it "
          "was moved to");
    return *window_;
  }
  static result<ram_block> finish(
      result<std::shared_ptr<detail::memory_window const>> made) noexcept {
    if (!made) return failure(made.error());
    return ram_block{std::move(*made)};
  }

  [[nodiscard]] result<void> check(const char* operation,
                                   extent<block_offset> what) const noexcept {
    if (what.last.value >= size())
      return failure(error{operation, errc::past_the_end}.at(what).of(name()));
    if (!writable())
      return failure(error{operation, errc::access_denied}.at(what).of(name()).advise(
          "its descriptor is open for reading only"));
    return {};
  }

  void free_or_stop() noexcept {
    while (window_ && !detail::unfreed_blocks::is_parents(window_->memory) &&
           !backing().remove_block(true)) {
      if (detail::unfreed_blocks::take(window_->memory, name())) break;
      if (backing().references() != 0)  // else the last device has just let go of it
        stop(
            "tether[R1]: a RAM block was destroyed while a region or a view referred to it, so a "
            "device could still reach it: remove its regions, and let go of views, first",
            name(), backing().referrers().newest().view());
    }
    window_.reset();
  }

  std::shared_ptr<detail::memory_window const> window_;
};

}  // namespace tether
