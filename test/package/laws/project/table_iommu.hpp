// SPDX-License-Identifier: BSL-1.0
// A backend of one's own: an IOMMU that is a std::map, with DMA engines behind it. It pins nothing.
#pragma once

#include <tether/tether.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace own {

using tether::errc;
using tether::error;
using tether::extent;
using tether::failure;
using tether::io_address;
using tether::result;

/// For the test of the tests: a mapping outlives its unmap.
inline bool unmaps_nothing() { return std::getenv("TABLE_IOMMU_UNMAPS_NOTHING") != nullptr; }

struct group_state {
  tether::endpoint_group what;
  int open = 0;
  bool joined = true;
};
using joined_state = std::shared_ptr<group_state>;

struct table_state {
  std::vector<extent<io_address>> usable;
  std::uint64_t budget;
  mutable std::mutex mutex{};
  std::map<std::uint64_t, tether::mapping> table{};  // by the first byte
  std::vector<joined_state> groups{};

  /// The mapping that has `at`, or null.
  tether::mapping const* covering(io_address at) const {
    auto next = table.upper_bound(at.value);
    if (next == table.begin()) return nullptr;
    --next;
    return next->second.where.contains(at) ? &next->second : nullptr;
  }
  /// The first mapping that overlaps `where`, or the end.
  auto overlapping(extent<io_address> where) const {
    const auto first = covering(where.first);
    auto at = first != nullptr ? table.find(first->where.first.value)
                               : table.lower_bound(where.first.value);
    return at != table.end() && at->second.where.overlaps(where) ? at : table.end();
  }
};

/// Closed when it is destroyed.
class table_device {
 public:
  table_device(std::shared_ptr<table_state> iommu, joined_state group, std::string name)
      : iommu_{std::move(iommu)}, group_{std::move(group)}, name_{std::move(name)} {
    ++group_->open;
  }
  table_device(table_device&& other) noexcept
      : iommu_{std::move(other.iommu_)},
        group_{std::exchange(other.group_, nullptr)},
        name_{std::move(other.name_)} {}
  table_device& operator=(table_device&& other) noexcept {
    std::swap(iommu_, other.iommu_);
    std::swap(group_, other.group_);
    std::swap(name_, other.name_);
    return *this;
  }
  ~table_device() { close(); }

  std::string_view name() const noexcept { return name_; }
  bool close() noexcept {
    if (group_ == nullptr) return false;
    const std::lock_guard turn{iommu_->mutex};
    --group_->open;
    group_ = nullptr;
    return true;
  }
  result<void> dma_read(io_address at, std::span<std::byte> into) noexcept {
    return transfer("DMA read", tether::access::read, at, into.size(),
                    [&](std::size_t done, std::byte* host, std::size_t bytes) {
                      std::memcpy(into.data() + done, host, bytes);
                    });
  }
  result<void> dma_write(io_address at, std::span<std::byte const> from) noexcept {
    return transfer("DMA write", tether::access::write, at, from.size(),
                    [&](std::size_t done, std::byte* host, std::size_t bytes) {
                      std::memcpy(host, from.data() + done, bytes);
                    });
  }

 private:
  template <class Copy>
  result<void> transfer(const char* operation, tether::access wanted, io_address at,
                        std::size_t bytes, Copy copy) noexcept {
    if (group_ == nullptr) return failure(error{operation, errc::stale_handle});
    if (bytes == 0) return {};
    const auto all = extent<io_address>::of(at, bytes);
    if (!all) return failure(error{operation, errc::invalid_extent}.of(name_));
    const std::lock_guard turn{iommu_->mutex};
    for (const bool really : {false, true}) {
      for (std::uint64_t done = 0; done < bytes;) {
        auto const* const one = iommu_->covering(at + done);
        if (one == nullptr) return failure(error{operation, errc::not_mapped}.at(*all));
        if (!allows(one->rights, wanted))
          return failure(error{operation, errc::access_denied}.at(*all));
        const auto part = *all->intersection(one->where);
        auto* const host = reinterpret_cast<std::byte*>(one->host_at(part.first).value);
        if (really) copy(done, host, part.size());
        done += part.size();
      }
    }
    return {};
  }

  std::shared_ptr<table_state> iommu_;
  joined_state group_;
  std::string name_;
};

class table_iommu {
 public:
  static constexpr bool pins = false;
  static constexpr tether::attach_unit unit = tether::attach_unit::group;
  using group_type = tether::endpoint_group;
  using joined_group = joined_state;
  using device_type = table_device;
  static constexpr std::uint64_t page = 4096;

  table_iommu(std::vector<extent<io_address>> usable, std::uint64_t budget)
      : state_{std::make_shared<table_state>(std::move(usable), budget)} {}

  result<void> map(tether::mapping const& what) noexcept try {
    const auto no = [&](errc why) { return failure(error{"map", why}.at(what.where)); };
    const std::lock_guard turn{state_->mutex};
    if (!what.where.valid()) return no(errc::invalid_extent);
    if (std::ranges::none_of(state_->usable,
                             [&](auto const& one) { return one.contains(what.where); }))
      return no(errc::outside_aperture);
    if (what.where.first.value % page != 0 || what.where.size() % page != 0 ||
        what.host.value % page != 0)
      return no(errc::not_aligned);
    if (what.host.value + (what.where.size() - 1) < what.host.value)
      return no(errc::invalid_extent);
    if (what.rights == tether::access::none) return no(errc::access_denied);
    if (state_->overlapping(what.where) != state_->table.end()) return no(errc::overlaps);
    if (state_->table.size() >= state_->budget) return no(errc::over_budget);
    state_->table.emplace(what.where.first.value, what);
    return {};
  } catch (std::exception const&) {
    return failure(error::out_of_memory("map"));
  }
  result<void> unmap(extent<io_address> where) noexcept {
    const auto no = [&](errc why) { return failure(error{"unmap", why}.at(where)); };
    const std::lock_guard turn{state_->mutex};
    if (!where.valid()) return no(errc::invalid_extent);
    std::uint64_t next = where.first.value;
    bool whole = true;
    const auto first = state_->overlapping(where);
    auto at = first;
    for (; at != state_->table.end() && at->second.where.overlaps(where); ++at) {
      if (!where.contains(at->second.where)) return no(errc::cuts_a_mapping);
      whole = whole && at->first == next;
      next = at->second.where.last.value + 1;
    }
    if (!whole || next != where.last.value + 1 || first == at) return no(errc::not_mapped);
    if (!unmaps_nothing()) state_->table.erase(first, at);
    return {};
  }

  tether::page_sizes page_sizes() const noexcept { return {page}; }
  std::span<extent<io_address> const> usable_iova() const noexcept { return state_->usable; }
  std::uint64_t free_mappings() const noexcept {
    const std::lock_guard turn{state_->mutex};
    return state_->budget - state_->table.size();
  }

  result<joined_group> join(group_type const& group) noexcept try {
    const std::lock_guard turn{state_->mutex};
    for (auto const& one : state_->groups)
      if (one->what.name() == group.name())
        return failure(error{"join", errc::already_there}.of(group.name()));
    state_->groups.push_back(std::make_shared<group_state>(group));
    return state_->groups.back();
  } catch (std::exception const&) {
    return failure(error::out_of_memory("join"));
  }
  result<void> leave(joined_group& joined) noexcept {
    const std::lock_guard turn{state_->mutex};
    if (joined == nullptr || !joined->joined) return failure(error{"leave", errc::stale_handle});
    if (joined->open != 0)
      return failure(error{"leave", errc::still_in_use}.of(joined->what.name()));
    joined->joined = false;
    std::erase(state_->groups, joined);
    return {};
  }
  result<tether::pin_class> classify(joined_group const& joined,
                                     std::string_view name) const noexcept {
    if (joined == nullptr || !joined->joined) return failure(error{"open", errc::stale_handle});
    return joined->what.find(name).map([&](auto const*) { return joined->what.pins(); });
  }
  result<device_type> open(joined_group& joined, std::string_view name) noexcept try {
    if (auto known = classify(joined, name); !known) return failure(known.error());
    const std::lock_guard turn{state_->mutex};
    return device_type{state_, joined, std::string{name}};
  } catch (std::exception const&) {
    return failure(error::out_of_memory("open").of(name));
  }
  result<void> close(device_type& device) noexcept {
    if (!device.close()) return failure(error{"close", errc::stale_handle});
    return {};
  }
  result<void> quiesce() noexcept {
    const std::lock_guard nothing_in_flight{state_->mutex};
    return {};
  }
  result<void> abandon() noexcept {
    const std::lock_guard turn{state_->mutex};
    for (auto const& one : state_->groups)
      if (one->open != 0) return failure(error{"abandon", errc::still_in_use}.of(one->what.name()));
    for (auto const& one : state_->groups) one->joined = false;
    state_->groups.clear();
    state_->table.clear();
    return {};
  }

 private:
  std::shared_ptr<table_state> state_;
};

static_assert(tether::backend<table_iommu> && tether::dma_engine<table_device>);

}  // namespace own
