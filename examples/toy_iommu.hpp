// SPDX-License-Identifier: BSL-1.0
// A backend of one's own: an IOMMU that is a `std::map`. All of the concept is here, and what each
// part must keep; test/laws/toy_iommu.cpp holds it to the laws, as it does tether's own. A real one
// asks its hardware where this asks the map.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/endpoint.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

class toy_iommu {
  using range = tether::extent<tether::io_address>;
  using mappings = std::map<tether::io_address, tether::mapping>;
  using errc = tether::errc;
  using error = tether::error;
  template <class T = void>
  using result = tether::result<T>;

  /// What has joined, and how many of its devices are open.
  struct member {
    tether::endpoint_group is;
    unsigned open_devices = 0;
  };
  /// What devices refer to: it stays where it is when the backend is moved.
  struct state {
    std::uint64_t page;
    std::vector<range> usable;
    std::uint64_t budget;
    std::mutex mutex{};  // DMA comes from any thread, the rest from one at a time
    mappings table{};
    std::map<std::uint64_t, member> members{};  // by a number that is never used again
    std::uint64_t last_number = 0;
  };

 public:
  /// Nothing is pinned, so nothing needs to be held down. Groups are attached, and their devices
  /// are opened afterwards.
  static constexpr bool pins = false;
  static constexpr tether::attach_unit unit = tether::attach_unit::group;

  using group_type = tether::endpoint_group;
  /// Refers by number, so that one that has left is told from one that is there.
  struct joined_group {
    std::uint64_t number = 0;
  };

  /// An open device: a DMA engine that goes through the table. Closed when it is destroyed.
  class device_type {
   public:
    device_type(device_type&& other) noexcept
        : iommu_{std::exchange(other.iommu_, nullptr)},
          group_{other.group_},
          name_{std::move(other.name_)} {}
    device_type& operator=(device_type&& other) noexcept {
      std::swap(iommu_, other.iommu_);
      std::swap(group_, other.group_);
      std::swap(name_, other.name_);
      return *this;
    }
    ~device_type() { close(); }

    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    [[nodiscard]] result<> dma_read(tether::io_address at, std::span<std::byte> into) noexcept {
      return transfer("DMA read", tether::access::read, at, into.size(),
                      [&](std::size_t done, std::byte* memory, std::size_t bytes) {
                        std::memcpy(into.data() + done, memory, bytes);
                      });
    }
    [[nodiscard]] result<> dma_write(tether::io_address at,
                                     std::span<std::byte const> from) noexcept {
      return transfer("DMA write", tether::access::write, at, from.size(),
                      [&](std::size_t done, std::byte* memory, std::size_t bytes) {
                        std::memcpy(memory, from.data() + done, bytes);
                      });
    }

   private:
    friend toy_iommu;
    device_type(state& iommu, std::uint64_t group, std::string name) noexcept
        : iommu_{&iommu}, group_{group}, name_{std::move(name)} {}

    void close() noexcept {
      if (iommu_ == nullptr) return;
      const std::lock_guard lock{iommu_->mutex};
      const auto group = iommu_->members.find(group_);
      if (group != iommu_->members.end()) group->second.open_devices -= 1;
      iommu_ = nullptr;
    }
    /// Looks at all of it before a byte moves: what is refused has moved nothing.
    template <class Copy>
    result<> transfer(const char* what, tether::access wanted, tether::io_address at,
                      std::size_t bytes, Copy copy) noexcept {
      if (iommu_ == nullptr) return tether::failure(error{what, errc::stale_handle});
      if (bytes == 0) return {};
      const auto where = range::of(at, bytes);
      if (!where) return tether::failure(error{what, errc::invalid_extent});
      const std::lock_guard lock{iommu_->mutex};
      bool allowed = true;
      const bool mapped = for_each(iommu_->table, *where, [&](auto const& one, range) {
        allowed = allowed && tether::allows(one.rights, wanted);
      });
      if (!mapped) return tether::failure(error{what, errc::not_mapped}.at(*where));
      if (!allowed) return tether::failure(error{what, errc::access_denied}.at(*where));
      for_each(iommu_->table, *where, [&](auto const& one, range part) {
        auto const host = static_cast<std::uintptr_t>(one.host_at(part.first).value);
        copy(part.first - at, reinterpret_cast<std::byte*>(host), part.size());
      });
      return {};
    }

    state* iommu_;
    std::uint64_t group_;
    std::string name_;
  };

  toy_iommu(std::uint64_t page, std::vector<range> usable, std::uint64_t budget)
      : state_{new state{page, std::move(usable), budget}} {}

  /// Maps all of it or nothing. Whoever calls relies on each of these being told.
  [[nodiscard]] result<> map(tether::mapping const& what) noexcept try {
    const error why{"map", errc::invalid_extent};
    const std::lock_guard lock{state_->mutex};
    mappings& table = state_->table;
    if (!what.where.valid() || what.host.value > ~std::uint64_t{0} - (what.where.size() - 1))
      return tether::failure(why.at(what.where));
    if (!what.where.aligned_to(state_->page) || !what.host.aligned_to(state_->page))
      return refused(errc::not_aligned, what.where);
    if (what.rights == tether::access::none) return refused(errc::access_denied, what.where);
    const auto next = table.upper_bound(what.where.last);
    if (next != table.begin() && std::prev(next)->second.where.overlaps(what.where))
      return refused(errc::overlaps, what.where);
    if (table.size() >= state_->budget) return refused(errc::over_budget, what.where);
    if (std::ranges::none_of(state_->usable,
                             [&](range const& one) { return one.contains(what.where); }))
      return refused(errc::outside_aperture, what.where);
    table.emplace(what.where.first, what);
    return {};
  } catch (std::exception const&) {
    return tether::failure(error::out_of_memory("map").at(what.where));
  }
  /// Whole mappings, one or several without a gap: a rollback unmaps what was mapped, and nothing
  /// else. When it returns no device reaches them, because DMA holds the lock.
  [[nodiscard]] result<> unmap(range where) noexcept {
    const std::lock_guard lock{state_->mutex};
    mappings& table = state_->table;
    if (!where.valid()) return tether::failure(error{"unmap", errc::invalid_extent}.at(where));
    for (const tether::io_address end : {where.first, where.last}) {
      const auto next = table.upper_bound(end);
      if (next == table.begin()) continue;
      range const& one = std::prev(next)->second.where;
      if (one.contains(end) && !where.contains(one))
        return tether::failure(error{"unmap", errc::cuts_a_mapping}.at(where));
    }
    if (!for_each(table, where, [](tether::mapping const&, range) {}))
      return tether::failure(error{"unmap", errc::not_mapped}.at(where));
    table.erase(table.lower_bound(where.first), table.upper_bound(where.last));
    return {};
  }

  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return {state_->page}; }
  [[nodiscard]] std::span<range const> usable_iova() const noexcept { return state_->usable; }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept {
    return state_->budget - state_->table.size();
  }

  /// Optional: a device by its name alone, for `container::attach(endpoint)`.
  [[nodiscard]] result<tether::device_in_group<group_type>> locate(
      tether::endpoint const& device) const noexcept try {
    return tether::device_in_group<group_type>{{device.name, {device}}, device.name};
  } catch (std::exception const&) {
    return tether::failure(error::out_of_memory("find device").of(device.name));
  }
  [[nodiscard]] result<joined_group> join(group_type const& group) noexcept try {
    const std::lock_guard lock{state_->mutex};
    for (auto const& [number, one] : state_->members) {
      if (one.is.name() == group.name())
        return tether::failure(error{"join", errc::already_there}.of(group.name()));
    }
    state_->members.emplace(state_->last_number + 1, member{group});
    return joined_group{++state_->last_number};
  } catch (std::exception const&) {
    return tether::failure(error::out_of_memory("join").of(group.name()));
  }
  [[nodiscard]] result<> leave(joined_group& joined) noexcept {
    const std::lock_guard lock{state_->mutex};
    const auto group = state_->members.find(joined.number);
    if (group == state_->members.end()) return tether::failure(error{"leave", errc::stale_handle});
    if (group->second.open_devices != 0)
      return tether::failure(error{"leave", errc::still_in_use}.of(group->second.is.name()));
    state_->members.erase(group);
    return {};
  }

  /// Whether a device may agree to discards: not if anything of its group pins for good.
  [[nodiscard]] result<tether::pin_class> classify(joined_group const& joined,
                                                   std::string_view name) const noexcept {
    const std::lock_guard lock{state_->mutex};
    const auto group = state_->members.find(joined.number);
    if (group == state_->members.end())
      return tether::failure(error{"open device", errc::stale_handle}.of(name));
    return group->second.is.find(name).map([&](auto) { return group->second.is.pins(); });
  }
  [[nodiscard]] result<device_type> open(joined_group& joined, std::string_view name) noexcept try {
    std::string called{name};
    const std::lock_guard lock{state_->mutex};
    const auto group = state_->members.find(joined.number);
    if (group == state_->members.end())
      return tether::failure(error{"open device", errc::stale_handle}.of(name));
    if (auto found = group->second.is.find(name); !found) return tether::failure(found.error());
    group->second.open_devices += 1;
    return device_type{*state_, joined.number, std::move(called)};
  } catch (std::exception const&) {
    return tether::failure(error::out_of_memory("open device").of(name));
  }
  [[nodiscard]] result<> close(device_type& device) noexcept {
    if (device.iommu_ == nullptr) return tether::failure(error{"close", errc::stale_handle});
    device.close();
    return {};
  }

  /// No DMA is in flight when it returns: each holds the lock.
  [[nodiscard]] result<> quiesce() noexcept {
    const std::lock_guard lock{state_->mutex};
    return {};
  }
  /// The last resort, after a rollback failed: nothing is mapped or joined afterwards.
  [[nodiscard]] result<> abandon() noexcept {
    const std::lock_guard lock{state_->mutex};
    for (auto const& [number, one] : state_->members) {
      if (one.open_devices != 0)
        return tether::failure(error{"abandon", errc::still_in_use}.of(one.is.name()));
    }
    state_->members.clear();
    state_->table.clear();
    return {};
  }

  /// Optional: lets a container say so when it is given one that was moved from.
  [[nodiscard]] bool is_moved_from() const noexcept { return state_ == nullptr; }

 private:
  static result<> refused(errc why, range where) noexcept {
    return tether::failure(error{"map", why}.at(where));
  }
  /// Calls `visit` with each mapping of `where` and its part of it. False if there is a hole.
  template <class Visit>
  static bool for_each(mappings const& table, range where, Visit visit) noexcept {
    auto one = table.upper_bound(where.first);
    if (one == table.begin()) return false;
    --one;
    for (auto next = where.first; one != table.end() && one->second.where.contains(next); ++one) {
      visit(one->second, *where.intersection(one->second.where));
      if (where.last <= one->second.where.last) return true;
      next = one->second.where.last + 1;
    }
    return false;
  }

  std::unique_ptr<state> state_;
};

static_assert(tether::backend<toy_iommu> && tether::locates_endpoints<toy_iommu>);
static_assert(tether::dma_engine<toy_iommu::device_type>);
