// SPDX-License-Identifier: BSL-1.0
// An IOMMU in memory that really translates: VFIO type1v2's contract without hardware, pins or
// privileges. Its devices are DMA engines that copy bytes wherever the table lets them.
//
//     device.dma_write(iova, bytes) ---> [ iova_table ] ---> memcpy to host memory
//                                         not mapped, or no right: refused, and nothing moved
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/detail/iova_table.hpp>
#include <tether/backend/detail/mapping_checks.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/emulated/endpoint_registry.hpp>
#include <tether/backend/emulated/translation_lock.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace tether {

/// What the IOMMU can do. The defaults are an ordinary x86 machine's: the hole is its MSI window.
struct software_iommu_options {
  tether::page_sizes page_sizes{4 * KiB | 2 * MiB | 1 * GiB};  ///< the pages that it can map
  /// Sorted and disjoint. A mapping cannot span two ranges, not even adjacent ones.
  std::vector<extent<io_address>> usable{{io_address{0}, io_address{0xfedf'ffff}},
                                         {io_address{0xfef0'0000}, io_address{0xffff'ffff'ffff}}};
  /// How many mappings it holds at most. Source: type1's dma_entry_limit.
  std::uint64_t budget = 65535;
};

namespace detail {

/// What the backend and its devices share, at a fixed address.
struct software_iommu_state {
  explicit software_iommu_state(software_iommu_options chosen) : options{std::move(chosen)} {}

  software_iommu_options options;
  translation_lock lock;
  iova_table<> table;
  endpoint_registry groups;
  process_mark made_by;
};

}  // namespace detail

/// An open device of a `software_iommu`: a DMA engine. Move-only; closed on destruction.
/// Requires: the backend outlives it. One thread may use it while the backend maps, unmaps or
/// closes on another.
class software_device {
 public:
  software_device(software_device&& other) noexcept
      : iommu_{other.iommu_}, opened_{std::exchange(other.opened_, {})} {}
  software_device& operator=(software_device&& other) noexcept {
    if (this != &other) {
      close();
      iommu_ = other.iommu_;
      opened_ = std::exchange(other.opened_, {});
    }
    return *this;
  }
  ~software_device() { close(); }

  /// Empty once closed. Valid until its group leaves.
  [[nodiscard]] std::string_view name() const noexcept {
    const std::shared_lock reading{iommu_->lock};
    return opened_.name();
  }

  /// The device reads memory. Fails, moving nothing: `not_mapped`, `access_denied`,
  /// `invalid_extent`, `stale_handle` once closed.
  [[nodiscard]] result<void> dma_read(io_address at, std::span<std::byte> into) noexcept {
    return transfer("DMA read", access::read, at, into.size(),
                    [&](std::size_t done, std::byte* host, std::size_t bytes) {
                      std::memcpy(into.data() + done, host, bytes);
                    });
  }
  /// The device writes memory. Fails as `dma_read` does.
  [[nodiscard]] result<void> dma_write(io_address at, std::span<std::byte const> from) noexcept {
    return transfer("DMA write", access::write, at, from.size(),
                    [&](std::size_t done, std::byte* host, std::size_t bytes) {
                      std::memcpy(host, from.data() + done, bytes);
                    });
  }

 private:
  friend class software_iommu;
  software_device(detail::software_iommu_state& iommu, detail::open_endpoint opened) noexcept
      : iommu_{&iommu}, opened_{opened} {}

  /// A device that is closed already takes no lock: no other thread uses a device that is being
  /// destroyed or assigned, and `open` moves one while it holds the lock. Nor does a child's copy:
  /// a thread that is not there any more may hold it for ever.
  void close() noexcept {
    if (!opened_ || iommu_->made_by.is_inherited()) return;
    const std::lock_guard change{iommu_->lock};
    detail::endpoint_registry::close(opened_);
  }

  template <class Copy>
  result<void> transfer(const char* operation, access wanted, io_address at, std::size_t bytes,
                        Copy copy) noexcept {
    const std::shared_lock translating{iommu_->lock};
    if (!opened_)
      return failure(error{operation, errc::stale_handle}.advise("the device is closed"));
    if (bytes == 0) return {};
    const auto range = extent<io_address>::of(at, bytes);
    if (!range)
      return failure(error{operation, errc::invalid_extent}.at(extent<io_address>{at, at}));
    detail::iova_table<> const& table = iommu_->table;
    const auto run = table.covering(*range);
    if (!run) return failure(error{operation, errc::not_mapped}.at(*range));
    for (std::size_t row = run->from; row != run->to; row = table.next(row)) {
      if (!allows(table[row].rights, wanted))
        return failure(error{operation, errc::access_denied}.at(*range));
    }
    for (std::size_t row = run->from; row != run->to; row = table.next(row)) {
      const auto part = *range->intersection(table.where(row));
      auto* const host = reinterpret_cast<std::byte*>(
          static_cast<std::uintptr_t>(table[row].host_at(part.first).value));
      copy(part.first - at, host, part.size());
    }
    return {};
  }

  detail::software_iommu_state* iommu_;
  detail::open_endpoint opened_;
};

/// The backend. Movable; its devices and joined groups stay valid when it is moved.
/// Ensures: when `unmap` or `quiesce` returns, no translation that began before it is still
/// running.
class software_iommu {
 public:
  static constexpr bool pins = false;
  static constexpr attach_unit unit = attach_unit::group;
  using group_type = endpoint_group;
  using joined_group = detail::joined_endpoint_group;
  using device_type = software_device;

  /// Fails: may throw `std::bad_alloc`.
  explicit software_iommu(software_iommu_options options = {})
      : state_{std::make_unique<detail::software_iommu_state>(std::move(options))} {}

  /// Fails, changing nothing: `invalid_extent`, `not_aligned`, `access_denied` (no right at all),
  /// `overlaps`, `over_budget`, `outside_aperture`, not enough memory.
  [[nodiscard]] result<void> map(mapping const& what) noexcept {
    if (auto shaped = detail::check_shape(what, state_->options.page_sizes.smallest()); !shaped)
      return shaped;
    const std::lock_guard change{state_->lock};
    if (state_->table.touches(what.where))
      return failure(error{"map", errc::overlaps}.at(what.where));
    if (state_->table.size() >= state_->options.budget) {
      return failure(
          error{"map", errc::over_budget}
              .at(what.where)
              .advise("this IOMMU holds at most {} mapping{|s}", state_->options.budget));
    }
    if (auto inside = detail::check_aperture(what.where, state_->options.usable); !inside)
      return inside;
    if (auto row = state_->table.insert(what); !row) return failure(row.error());
    return {};
  }
  /// Requires: `where` is exactly one or more whole mappings without a gap. Fails, removing
  /// nothing: `invalid_extent`, `cuts_a_mapping`, `not_mapped`.
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    const std::lock_guard change{state_->lock};
    const auto run = state_->table.whole(where);
    if (!run) return failure(run.error());
    state_->table.erase(*run);
    return {};
  }

  [[nodiscard]] tether::page_sizes page_sizes() const noexcept {
    return state_->options.page_sizes;
  }
  [[nodiscard]] std::span<extent<io_address> const> usable_iova() const noexcept {
    return state_->options.usable;
  }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept {
    const std::shared_lock reading{state_->lock};
    return state_->options.budget - state_->table.size();
  }

  /// A group of its own for a device of any name. Fails: `no_such_device` without a name.
  [[nodiscard]] result<device_in_group<group_type>> locate(endpoint const& device) const noexcept {
    return detail::locate_alone(device);
  }
  /// Fails: `already_there`.
  [[nodiscard]] result<joined_group> join(group_type const& group) noexcept {
    const std::lock_guard change{state_->lock};
    return state_->groups.join(group);
  }
  /// Ensures: nothing is unmapped, whichever group leaves. Fails: `still_in_use` while a device of
  /// it is open, `stale_handle`.
  [[nodiscard]] result<void> leave(joined_group& joined) noexcept {
    const std::lock_guard change{state_->lock};
    if (auto may = state_->groups.may_leave(joined); !may) return may;
    state_->groups.leave(joined);
    return {};
  }

  /// Fails: `no_such_device`, `stale_handle`.
  [[nodiscard]] result<pin_class> classify(joined_group const& joined,
                                           std::string_view name) const noexcept {
    return detail::endpoint_registry::classify(joined, name);
  }
  /// Fails: `no_such_device`, `stale_handle`.
  [[nodiscard]] result<device_type> open(joined_group& joined, std::string_view name) noexcept {
    const std::lock_guard change{state_->lock};
    const auto opened = detail::endpoint_registry::open(joined, name);
    if (!opened) return failure(opened.error());
    return device_type{*state_, *opened};
  }
  /// Ensures: no DMA of the device runs or can start. Fails: `stale_handle` if it is closed
  /// already.
  [[nodiscard]] result<void> close(device_type& device) noexcept {
    const std::lock_guard change{state_->lock};
    if (!device.opened_) return failure(error{"close", errc::stale_handle});
    detail::endpoint_registry::close(device.opened_);
    return {};
  }

  /// Ensures: no translation that began before is still running: an exclusive lock waits for them.
  [[nodiscard]] result<void> quiesce() noexcept {
    const std::lock_guard nothing_in_flight{state_->lock};
    return {};
  }
  /// Ensures: nothing is mapped or joined. Fails: `still_in_use` while a device is open.
  [[nodiscard]] result<void> abandon() noexcept {
    const std::lock_guard change{state_->lock};
    if (auto may = state_->groups.may_abandon(); !may) return may;
    state_->table.clear();
    state_->groups.abandon();
    return {};
  }

  /// It was moved from: it may be assigned or destroyed, and nothing else.
  [[nodiscard]] bool is_moved_from() const noexcept { return state_ == nullptr; }

 private:
  std::unique_ptr<detail::software_iommu_state> state_;
};

static_assert(backend<software_iommu> && dma_engine<software_device>);

}  // namespace tether
