// SPDX-License-Identifier: BSL-1.0
// Chooses I/O addresses for a program that has no guest whose addresses it could take: a driver of
// its own. It hands out runs of what the IOMMU can translate, and takes them back; it maps nothing
// (`mapped_buffers` does both).
//
//     usable_iova()   |------------------|  hole: interrupts  |-----------------------|
//     handed out        ^ the first place that fits, never the first page of all
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/iova_tiles.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/page_sizes.hpp>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

namespace tether {

/// Which I/O addresses are taken. Move-only: a copy would hand out the same addresses again. One
/// that was moved from may be assigned or destroyed, and nothing else. One thread at a time.
/// Units: bytes. Cost: log N for N runs that are taken or free, and 48 bytes each; `release` never
/// allocates.
class iova_allocator {
 public:
  /// Hands out of `usable`, in whole `page`s: what a backend answers to `usable_iova()` and
  /// `page_sizes().smallest()` once what it maps for has joined. `highest`: the last address that
  /// the device can send (a DMA mask).
  /// Fails: `not_aligned` if `page` is no power of two, `outside_aperture` if no whole page is
  /// usable, not enough memory.
  [[nodiscard]] static result<iova_allocator> over(
      std::span<extent<io_address> const> usable, std::uint64_t page,
      io_address highest = extent<io_address>::everything().last) noexcept {
    if (!std::has_single_bit(page))
      return failure(error{allocating, errc::not_aligned}.advise("a page is a power of two"));
    iova_allocator made{page, highest};
    if (!made.tiles_.make_room(usable.size())) return failure(error::out_of_memory(allocating));
    std::uint32_t number = 0;
    for (extent<io_address> const& one : usable) {
      const auto whole = made.whole_pages(one);
      if (whole.valid()) made.tiles_.insert({whole.first.value, whole.last.value, number++, false});
    }
    if (number == 0)
      return failure(error{allocating, errc::outside_aperture}.advise(
          "no whole page of {} bytes is usable", page));
    return made;
  }
  iova_allocator(iova_allocator&&) noexcept = default;
  iova_allocator& operator=(iova_allocator&&) noexcept = default;

  /// The first run of `size` bytes that is free, at a multiple of `alignment` (0: of a page). Never
  /// at address 0, which means *none* to many a device; `claim` takes that, too.
  /// Fails, changing nothing: `invalid_extent` for no bytes, `not_aligned` if `size` is not whole
  /// pages or `alignment` no power of two, ENOSPC if there is no such run, not enough memory.
  /// Cost: where only runs are left that alignment might spoil, each of those is looked at.
  [[nodiscard]] result<extent<io_address>> allocate(std::uint64_t size,
                                                    std::uint64_t alignment = 0) noexcept {
    if (size == 0) return failure(error{allocating, errc::invalid_extent});
    const std::uint64_t grid = alignment < page_ ? page_ : alignment;
    if (size % page_ != 0 || (alignment != 0 && !std::has_single_bit(alignment)))
      return failure(error{allocating, errc::not_aligned}.advise(
          "a size is a multiple of {} bytes, an alignment a power of two", page_));
    if (!tiles_.make_room(2)) return failure(error::out_of_memory(allocating));
    const auto fits = [&](detail::iova_tile const& run) noexcept {
      const std::uint64_t first = place_in(run, grid);
      return first != 0 && first <= run.last && run.last - first >= size - 1;
    };
    // One that is longer by the alignment holds it wherever it begins.
    const std::uint64_t sure = size + (grid - page_);
    detail::iova_tile const* run = sure < size ? nullptr : tiles_.first_free(sure, fits);
    if (run == nullptr && grid != page_) run = tiles_.first_free(size, fits);
    if (run == nullptr) return failure(no_room());
    const io_address first{place_in(*run, grid)};
    const extent<io_address> where{first, first + (size - 1)};
    cut(*run, where);
    return where;
  }

  /// Takes exactly `where`, an address of the caller's choice. Fails, changing nothing:
  /// `invalid_extent`, `not_aligned`, `outside_aperture` if it is not all in *one* usable range,
  /// `overlaps` if some of it is taken, not enough memory.
  [[nodiscard]] result<void> claim(extent<io_address> where) noexcept {
    if (!where.valid()) return failure(error{claiming, errc::invalid_extent}.at(where));
    if (!where.aligned_to(page_))
      return failure(error{claiming, errc::not_aligned}.at(where).advise(
          "both ends must be multiples of {} bytes", page_));
    if (!tiles_.make_room(2)) return failure(error::out_of_memory(claiming).at(where));
    auto const* const run = tiles_.find(where.first.value);
    if (run == nullptr) return failure(unusable(where));
    if (!run->taken && where.last.value <= run->last) {
      cut(*run, where);
      return {};
    }
    // What is behind a free run of the same range is taken.
    auto const* const behind = run->taken ? run : next_in_range(*run);
    return failure(behind != nullptr ? error{claiming, errc::overlaps}.at(where) : unusable(where));
  }

  /// Gives back exactly what `allocate` or `claim` took. Fails, changing nothing: `not_mapped` if
  /// nothing was taken there, `cuts_a_mapping` if it is not exactly one such run.
  [[nodiscard]] result<void> release(extent<io_address> where) noexcept {
    auto const* const run = tiles_.find(where.first.value);
    if (run == nullptr || !run->taken) return failure(error{"release", errc::not_mapped}.at(where));
    if (run->first != where.first.value || run->last != where.last.value)
      return failure(error{"release", errc::cuts_a_mapping}.at(where).advise(
          "give back what was taken, as a whole"));
    detail::iova_tile whole = *run;
    tiles_.remove(whole);
    whole.taken = false;
    if (auto const* const before = whole.first == 0 ? nullptr : tiles_.find(whole.first - 1);
        joins(before, whole)) {
      whole.first = before->first;
      tiles_.remove(*before);
    }
    if (auto const* const behind = next_in_range(whole); joins(behind, whole)) {
      whole.last = behind->last;
      tiles_.remove(*behind);
    }
    tiles_.insert(whole);
    return {};
  }

  /// Goes on with other limits, as they are after a join or a leave; what is taken stays taken.
  /// Fails, changing nothing: as `over`, and as `claim` if something taken is not usable any more.
  /// Cost: N log N.
  [[nodiscard]] result<void> change_limits(std::span<extent<io_address> const> usable,
                                           std::uint64_t page) noexcept {
    auto anew = over(usable, page, highest_);
    if (!anew) return failure(anew.error());
    result<void> kept{};
    tiles_.each([&](detail::iova_tile const& one) noexcept {
      if (one.taken) kept = anew->claim({io_address{one.first}, io_address{one.last}});
      if (!kept && kept.error().is(errc::outside_aperture))
        kept = failure(kept.error().advise("it is in use, and not usable any more: free it first"));
      return kept.has_value();
    });
    if (kept) *this = std::move(*anew);
    return kept;
  }

  /// The page in whose multiples it hands out.
  [[nodiscard]] std::uint64_t page() const noexcept { return page_; }
  /// The largest run that is free; of all 2^64 bytes one less.
  [[nodiscard]] std::uint64_t largest_free() const noexcept { return tiles_.largest_free(); }

 private:
  static constexpr const char* allocating = "allocate I/O addresses";
  static constexpr const char* claiming = "claim I/O addresses";

  iova_allocator(std::uint64_t page, io_address highest) noexcept
      : page_{page}, highest_{highest} {}

  /// What is usable of a range, not `valid` if that is nothing.
  [[nodiscard]] extent<io_address> whole_pages(extent<io_address> range) const noexcept {
    constexpr extent<io_address> nothing{io_address{1}, io_address{0}};
    const auto reached = range.intersection({io_address{0}, highest_});
    if (!reached) return nothing;
    const std::uint64_t first = round_up(reached->first.value, page_);
    const std::uint64_t end = round_down(reached->last.value + 1, page_);  // 0 stands for 2^64
    if (first < reached->first.value || (end != 0 && end <= first)) return nothing;
    if (end == 0 && reached->last.value + 1 != 0) return nothing;
    return {io_address{first}, io_address{end - 1}};
  }
  /// The first multiple of `grid` in a run, but not 0; 0 if there is none.
  [[nodiscard]] std::uint64_t place_in(detail::iova_tile const& run,
                                       std::uint64_t grid) const noexcept {
    return run.first == 0 ? grid : round_up(run.first, grid);
  }
  /// What lies right behind `run` in its range, or null.
  [[nodiscard]] detail::iova_tile const* next_in_range(
      detail::iova_tile const& run) const noexcept {
    auto const* const behind =
        run.last == std::numeric_limits<std::uint64_t>::max() ? nullptr : tiles_.find(run.last + 1);
    return behind != nullptr && behind->range == run.range ? behind : nullptr;
  }
  static bool joins(detail::iova_tile const* neighbour, detail::iova_tile const& whole) noexcept {
    return neighbour != nullptr && !neighbour->taken && neighbour->range == whole.range;
  }
  /// Takes `where` out of a free run. Requires: it is inside, and there is room for two more runs.
  void cut(detail::iova_tile run, extent<io_address> where) noexcept {
    tiles_.remove(run);
    if (run.first != where.first.value)
      tiles_.insert({run.first, where.first.value - 1, run.range, false});
    tiles_.insert({where.first.value, where.last.value, run.range, true});
    if (run.last != where.last.value)
      tiles_.insert({where.last.value + 1, run.last, run.range, false});
  }
  [[nodiscard, gnu::cold]] error no_room() const noexcept {
    // The page at address 0 is never handed out: it does not count, unless another is as large.
    std::uint64_t largest = largest_free();
    auto const* const lowest = tiles_.find(0);
    if (lowest != nullptr && !lowest->taken && lowest->last == largest - 1 &&
        tiles_.first_free(largest, [](auto const& run) noexcept { return run.first != 0; }) ==
            nullptr)
      largest -= page_;
    return error::from_errno(allocating, ENOSPC)
        .advise("the largest run of I/O addresses that is free has {} bytes", largest);
  }
  [[nodiscard, gnu::cold]] static error unusable(extent<io_address> where) noexcept {
    return error{claiming, errc::outside_aperture}.at(where).advise(
        "it must lie in one of the ranges of usable_iova(), and within what the device can send");
  }

  std::uint64_t page_;
  io_address highest_;
  detail::iova_tiles tiles_{};
};

}  // namespace tether
