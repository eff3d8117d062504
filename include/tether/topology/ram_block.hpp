// SPDX-License-Identifier: BSL-1.0
// A block of guest memory and who owns it: made here, lent by the user, or received as a descriptor.
// A block that anything can still reach cannot be freed (law 26).
//
//     ram_block --owns--> memory_backing <--points-- section, <--retains-- placed region, view
#pragma once

#include <tether/topology/memory_backing.hpp>
#include <tether/topology/memory_sources.hpp>

#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/stop.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace tether {

/// The owning handle of a block. Movable; sections keep pointing to the same memory.
class ram_block {
 public:
  /// New memory of `size` bytes, all zeros. `page_size` 0 means the kind's default. Huge pages are taken
  /// from the pool at once, so a pool that is too small refuses here and not at the first touch.
  /// Ensures: private memory is not inherited by a fork, which could not share a pinned page.
  /// Fails: `invalid_extent` for no bytes, `not_aligned`, `unsupported` for device memory, the kernel's
  /// errno; nothing is left behind.
  template <class Kernel = linux_kernel>
  [[nodiscard]] static result<ram_block> allocate(std::string_view name, std::uint64_t size,
                                                  memory_kind kind = memory_kind::private_anonymous,
                                                  std::uint64_t page_size = 0) noexcept {
    return finish(detail::memory_sources<Kernel>::allocate(name, size, kind, page_size));
  }

  /// Memory of the user's: never unmapped here. It must outlive the block. Private memory is marked
  /// MADV_DONTFORK and stays so. `page_size` is the unit of discard, 0 for the kind's own.
  /// Fails: as `allocate`; `not_aligned` if it does not begin and end on a page.
  template <class Kernel = linux_kernel>
  [[nodiscard]] static result<ram_block> borrow(std::string_view name, host_address host, std::uint64_t size, memory_kind kind,
                                                std::uint64_t page_size = 0) noexcept {
    return finish(detail::memory_sources<Kernel>::borrow(name, host, size, kind, page_size));
  }

  /// Memory behind a descriptor, mapped shared. The descriptor is duplicated; `fd` stays the caller's.
  /// Fails: `bad_descriptor` unless it is a file of tmpfs (a memfd is) or hugetlbfs, open for reading and
  /// writing; `past_the_end` if it is shorter than it was said to be; `not_aligned`; the kernel's errno.
  template <class Kernel = linux_kernel>
  [[nodiscard]] static result<ram_block> from_descriptor(std::string_view name, int fd, std::uint64_t file_offset,
                                                         std::uint64_t size) noexcept {
    return finish(detail::memory_sources<Kernel>::from_descriptor(name, fd, file_offset, size));
  }

  ram_block(ram_block&&) noexcept = default;
  ram_block& operator=(ram_block&& other) noexcept {
    if (this != &other) {
      must_be_unused();
      backing_ = std::move(other.backing_);
    }
    return *this;
  }
  /// Frees the memory. Requires: `backing().references() == 0`, else the program stops.
  ~ram_block() { must_be_unused(); }

  /// False once freed or moved from; nothing else may be asked then.
  [[nodiscard]] explicit operator bool() const noexcept { return backing_ != nullptr; }
  [[nodiscard]] memory_backing& backing() const noexcept { return *backing_; }
  [[nodiscard]] host_address host() const noexcept { return backing_->host(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return backing_->size(); }
  [[nodiscard]] std::uint64_t page_size() const noexcept { return backing_->page_size(); }
  [[nodiscard]] memory_kind kind() const noexcept { return backing_->kind(); }
  [[nodiscard]] backing_identity identity() const noexcept { return backing_->identity(); }
  [[nodiscard]] std::byte* data() const noexcept { return backing_->data(); }
  [[nodiscard]] std::string_view name() const noexcept { return backing_->name(); }
  /// As `memory_backing::discard`.
  [[nodiscard]] result<void> discard(extent<block_offset> what, discard_permit const& leave) const noexcept {
    return backing_->discard(what, leave);
  }
  /// As `memory_backing::populate`.
  [[nodiscard]] result<void> populate(extent<block_offset> what) const noexcept { return backing_->populate(what); }

  /// Gives the memory back to the host. A freed block may be freed again: nothing happens.
  /// Fails: `still_in_use` while a placed region or a view mentions it; the kernel's errno. The block is
  /// as it was then.
  [[nodiscard]] result<void> free() noexcept {
    if (!backing_) return {};
    if (backing_->references() > 0)
      return failure(error{"free", errc::still_in_use}.of(name()).advise("{} regions and views refer to it", backing_->references()));
    if (const auto answer = backing_->give_back(); answer < 0)
      return failure(error::from_errno("free", static_cast<int>(-answer)).of(name()));
    backing_.reset();
    return {};
  }

 private:
  explicit ram_block(std::unique_ptr<memory_backing> backing) noexcept : backing_{std::move(backing)} {}

  static result<ram_block> finish(result<std::unique_ptr<memory_backing>> made) noexcept {
    if (!made) return failure(made.error());
    return ram_block{std::move(*made)};
  }

  void must_be_unused() const noexcept {
    if (backing_ && backing_->references() > 0)
      stop("tether[R1]: a RAM block was destroyed while a region or a view referred to it, so a device could still reach it");
  }

  std::unique_ptr<memory_backing> backing_;
};

}  // namespace tether
