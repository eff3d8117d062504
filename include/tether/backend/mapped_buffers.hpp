// SPDX-License-Identifier: BSL-1.0
// A program's own buffers in an IOMMU, for a driver in user space: no guest, no balloon. Memory is
// mapped wherever there is room, or at an address of choice; and what a device must be told, the
// I/O address of any byte of it, is looked up.
//
//     process   |  queue  |      |      data buffer       |        map() -> I/O address
//                    \                 /                           translate(pointer)
//     IOMMU        |  queue  |      data buffer       |  hole: interrupts  |
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/detail/chunked_rows.hpp>
#include <tether/core/address.hpp>
#include <tether/core/detail/populate_pages.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/iova_allocator.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace tether {

/// Buffers in order of their host address, searched: any page is where one may begin and end.
/// Cost: log N for N buffers, whatever their sizes, and 24 to 48 bytes each.
class sorted_lookup {
 public:
  static constexpr std::uint64_t block_size = 1;  ///< bytes: a buffer begins and ends anywhere

  /// Fails (false), changing nothing: not enough memory.
  [[nodiscard]] bool insert(buffer_place const& buffer) noexcept {
    return rows_.insert(buffer.host, buffer.first) != rows::none;
  }
  /// Requires: it was inserted.
  void erase(buffer_place const& buffer) noexcept {
    const std::size_t row = rows_.at_or_before(buffer.host.first.value);
    rows_.erase({row, rows_.next(row)});
  }
  /// The lowest buffer of which a byte lies there.
  [[nodiscard]] std::optional<buffer_place> first_in(extent<host_address> where) const noexcept {
    std::size_t row = rows_.at_or_before(where.first.value);
    if (row == rows::none) row = rows_.all().from;
    else if (rows_.last(row) < where.first.value) row = rows_.next(row);
    if (row == rows_.all().to || rows_.first(row) > where.last.value) return {};
    return buffer_place{{host_address{rows_.first(row)}, host_address{rows_.last(row)}},
                        rows_.entry(row)};
  }
  /// Whether `bytes` bytes from `host` on lie in one buffer, and where devices see them.
  [[nodiscard]] bool find(host_address host, std::uint64_t bytes,
                          io_address& found) const noexcept {
    const std::size_t row = rows_.at_or_before(host.value);
    if (row == rows::none || host.value > rows_.last(row) ||
        bytes - 1 > rows_.last(row) - host.value) [[unlikely]]
      return false;
    found = rows_.entry(row) + (host.value - rows_.first(row));
    return true;
  }
  /// Buffers.
  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }

 private:
  using rows = detail::chunked_rows<io_address>;  // by host address: where a device sees it
  rows rows_{};
};

namespace detail {

/// A class of its own, as those in `attach/detail/refusals.hpp`.
template <class Lookup>
struct lookup_that_lacks_something {
  static_assert(buffer_lookup<Lookup>,
                "tether[B11]: a lookup of mapped_buffers needs 'static constexpr std::uint64_t "
                "block_size', a power of two of at most 1 GiB, and the noexcept functions of the "
                "concept 'buffer_lookup': take sorted_lookup, or direct_lookup<2 * MiB>");
};

}  // namespace detail

/// The buffers that are mapped by one backend, which the program has joined to a group or device
/// itself. Move-only: one that was moved from may be assigned or destroyed, and nothing else.
/// Destroyed, it unmaps what is left.
///
///     auto buffers = must(mapped_buffers<vfio_type1>::over(iommu));  // each answers a result
///     auto queue = buffers.map({memory, 64 * KiB});                  // I/O address, or why not
///     auto entry = buffers.translate(memory + 4096, 64);             // of any part of it
///
/// Requires: the backend outlives it and stays where it is, and maps nothing else unless its
/// addresses are above `highest`; what a device still uses is not unmapped; one thread at a time
/// (several may `translate`). Nobody discards pinned memory (madvise, a balloon): a device would go
/// on with pages that this process does not see any more; unmap it first. Pinned private memory
/// should be MADV_DONTFORK, as a `ram_block` is.
/// Lookup: how a buffer is found. `sorted_lookup` takes any page; `direct_lookup<Size>` is faster,
/// and takes only what begins and ends on multiples of `Size`:
///
///     auto pool = mapped_buffers<vfio_type1, direct_lookup<2 * MiB>>::over(iommu);
///
/// Cost: what its lookup and the backend cost; with `sorted_lookup` log N for N buffers.
template <backend Backend, class Lookup = sorted_lookup>
class mapped_buffers {
  static_assert(sizeof(detail::lookup_that_lacks_something<Lookup>) != 0);

 public:
  /// For what has joined `iommu` already, within its limits of now. `highest`: the last address
  /// that the device can send (a DMA mask). Fails: as `iova_allocator::over`.
  [[nodiscard]] static result<mapped_buffers> over(
      Backend& iommu, io_address highest = extent<io_address>::everything().last) noexcept {
    auto addresses = iova_allocator::over(iommu.usable_iova(), grid_of(iommu), highest);
    if (!addresses) return failure(addresses.error());
    return mapped_buffers{iommu, std::move(*addresses)};
  }
  mapped_buffers(mapped_buffers&& other) noexcept
      : iommu_{std::exchange(other.iommu_, nullptr)},
        addresses_{std::move(other.addresses_)},
        lookup_{std::move(other.lookup_)} {}
  mapped_buffers& operator=(mapped_buffers&& other) noexcept {
    std::swap(iommu_, other.iommu_);
    std::swap(addresses_, other.addresses_);
    std::swap(lookup_, other.lookup_);
    return *this;
  }
  ~mapped_buffers() {
    if (iommu_ == nullptr) return;
    auto rest = extent<host_address>::everything();
    while (const auto one = lookup_.first_in(rest)) {
      static_cast<void>(iommu_->unmap(one->where()));
      if (one->host.last == rest.last) return;
      rest.first = one->host.last + 1;
    }
  }

  /// Maps whole pages where there is room, aligned to the largest page that they could be mapped
  /// by, unless only a worse place is left. Never at I/O address 0. Memory that only the device
  /// reads (`access::read`) and that is private must be writable here: it is brought in first, else
  /// the kernel might pin the shared page of zeros in its place (law 15).
  /// Fails, changing nothing: `invalid_extent` for no bytes, `not_aligned` (also to the blocks of
  /// the lookup), `overlaps` if some of it is mapped already, ENOSPC if there is no room,
  /// `access_denied`, as the backend's `map`; not enough memory. If that could not be rolled back,
  /// the addresses are not used again.
  [[nodiscard]] result<io_address> map(std::span<std::byte> memory,
                                       access rights = access::read_write,
                                       memory_kind kind = memory_kind::private_anonymous) noexcept {
    const auto host = whole_and_new(memory);
    if (!host) return failure(host.error());
    const std::uint64_t best = iommu_->page_sizes().largest_at(host->first.value, memory.size());
    auto where = addresses_.allocate(memory.size(), best);
    if (!where && best > addresses_.page()) where = addresses_.allocate(memory.size());
    if (!where) return failure(where.error());
    if (auto done = place(*where, *host, rights, kind); !done) return failure(done.error());
    return where->first;
  }
  /// As `map`, at an address of the caller's choice. Fails, too: as `iova_allocator::claim`.
  [[nodiscard]] result<void> map_at(io_address at, std::span<std::byte> memory,
                                    access rights = access::read_write,
                                    memory_kind kind = memory_kind::private_anonymous) noexcept {
    const auto host = whole_and_new(memory);
    if (!host) return failure(host.error());
    const extent<io_address> where = host->moved_to(at);
    if (auto mine = addresses_.claim(where); !mine) return mine;
    return place(where, *host, rights, kind);
  }
  /// Unmaps the buffer that begins at `memory`; its addresses are free again. Requires: no device
  /// uses it. Fails, changing nothing: `not_mapped`; `cuts_a_mapping` if it begins before; as the
  /// backend's `unmap`, and it counts as mapped then.
  [[nodiscard]] result<void> unmap(std::byte const* memory) noexcept {
    const host_address host = address_of(memory);
    const extent<host_address> one{host, host};
    const auto found = lookup_.first_in(one);
    if (!found) return failure(error{"unmap", errc::not_mapped}.at(one));
    if (found->host.first != host)
      return failure(error{"unmap", errc::cuts_a_mapping}.at(one).advise(
          "name the first byte of a buffer, which is unmapped as a whole"));
    if (auto done = iommu_->unmap(found->where()); !done) return done;
    lookup_.erase(*found);
    return addresses_.release(found->where());
  }

  /// The I/O address of `bytes` bytes from `memory` on, all in one buffer: what a device is told.
  /// Fails: `invalid_extent` for no bytes, `not_mapped`. Cost: the lookup's `find`, no allocation.
  [[nodiscard]] result<io_address> translate(void const* memory,
                                             std::uint64_t bytes = 1) const noexcept {
    const host_address host = address_of(memory);
    io_address found;
    if (!lookup_.find(host, bytes, found)) [[unlikely]]
      return failure(why_not_translated(host, bytes));
    return found;
  }

  /// To be called after another join, or a leave: hands out what is usable now. Fails, changing
  /// nothing: as `iova_allocator::change_limits`. Cost: N log N.
  [[nodiscard]] result<void> follow_limits() noexcept {
    return addresses_.change_limits(iommu_->usable_iova(), grid_of(*iommu_));
  }
  /// Buffers that are mapped.
  [[nodiscard]] std::size_t size() const noexcept { return lookup_.size(); }

 private:
  mapped_buffers(Backend& iommu, iova_allocator addresses) noexcept
      : iommu_{&iommu}, addresses_{std::move(addresses)} {}

  [[nodiscard]] static host_address address_of(void const* memory) noexcept {
    return host_address{reinterpret_cast<std::uintptr_t>(memory)};
  }
  /// What I/O addresses are multiples of: of 4 KiB where there are blocks, which are no smaller.
  [[nodiscard]] static std::uint64_t grid_of(Backend const& iommu) noexcept {
    constexpr std::uint64_t least = Lookup::block_size < 4 * KiB ? 1 : 4 * KiB;
    const std::uint64_t page = iommu.page_sizes().smallest();
    return page != 0 && page < least ? least : page;
  }
  [[nodiscard, gnu::cold, gnu::noinline]] static error why_not_translated(
      host_address host, std::uint64_t bytes) noexcept {
    const auto asked = extent<host_address>::of(host, bytes);
    if (!asked)
      return error{"translate", errc::invalid_extent}.at(extent<host_address>{host, host});
    return error{"translate", errc::not_mapped}.at(*asked);
  }

  /// Where it lies in this process, if it may be mapped.
  [[nodiscard]] result<extent<host_address>> whole_and_new(
      std::span<std::byte> memory) const noexcept {
    const host_address host = address_of(memory.data());
    const auto whole = extent<host_address>::of(host, memory.size());
    if (!whole)
      return failure(error{"map", errc::invalid_extent}.at(extent<host_address>{host, host}));
    if (!whole->aligned_to(addresses_.page()))
      return failure(error{"map", errc::not_aligned}.at(*whole).advise(
          "address and size of a buffer must be multiples of {} bytes", addresses_.page()));
    if (!whole->aligned_to(Lookup::block_size))
      return failure(error{"map", errc::not_aligned}.at(*whole).advise(
          "begin and end a buffer on multiples of {} bytes, the blocks of this lookup, or take "
          "sorted_lookup, which has none",
          Lookup::block_size));
    if (lookup_.first_in(*whole))
      return failure(error{"map", errc::overlaps}.at(*whole).advise(
          "unmap it first: a byte has one I/O address, which translate() tells"));
    return *whole;
  }
  /// Maps at addresses that are taken for it. What the backend does comes last, so that nothing
  /// else can fail then.
  [[nodiscard]] result<void> place(extent<io_address> where, extent<host_address> host,
                                   access rights, memory_kind kind) noexcept {
    if (!lookup_.insert({host, where.first})) {
      static_cast<void>(addresses_.release(where));
      return failure(error::out_of_memory("map").at(where));
    }
    auto done = bring_in(host, rights, kind);
    if (done) done = iommu_->map({where, host.first, rights, kind});
    if (done) [[likely]]
      return done;
    lookup_.erase({host, where.first});
    // What may still be mapped there must not be handed out again.
    if (!done.error().rollback_failed()) static_cast<void>(addresses_.release(where));
    return done;
  }
  [[nodiscard]] static result<void> bring_in(extent<host_address> host, access rights,
                                             memory_kind kind) noexcept {
    if (!Backend::pins || allows(rights, access::write) || !is_private(kind)) return {};
    const auto answer =
        detail::populate_pages(kernel_of<Backend>{}, host.first.value, host.size(), true);
    if (answer >= 0) return {};
    return failure(error::from_errno("bring in", static_cast<int>(-answer))
                       .at(host)
                       .advise("private memory that a device reads must be writable here, too"));
  }

  Backend* iommu_;
  iova_allocator addresses_;
  Lookup lookup_{};
};

}  // namespace tether
