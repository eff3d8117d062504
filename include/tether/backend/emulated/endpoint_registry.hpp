// SPDX-License-Identifier: BSL-1.0
// Which emulated groups have joined a backend, and how many of their devices are open: what the
// VFIO core keeps for real ones. Both emulated backends keep one, under their own lock.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace tether::detail {

/// One group that has joined.
struct joined_endpoints {
  endpoint_group group;
  std::size_t open_devices = 0;
  /// Abandoned: kept only because a handle may still refer to it.
  bool gone = false;
};

/// The handle of a group that has joined. Empty once it has left. Move-only.
/// Requires: the backend outlives it.
class joined_endpoint_group {
 public:
  joined_endpoint_group() noexcept = default;
  joined_endpoint_group(joined_endpoint_group&& other) noexcept
      : joined_{std::exchange(other.joined_, nullptr)} {}
  joined_endpoint_group& operator=(joined_endpoint_group&& other) noexcept {
    joined_ = std::exchange(other.joined_, nullptr);
    return *this;
  }
  ~joined_endpoint_group() = default;

  [[nodiscard]] explicit operator bool() const noexcept {
    return joined_ != nullptr && !joined_->gone;
  }
  [[nodiscard]] std::string_view name() const noexcept {
    return joined_ != nullptr ? joined_->group.name() : std::string_view{};
  }

 private:
  friend class endpoint_registry;
  explicit joined_endpoint_group(joined_endpoints& joined) noexcept : joined_{&joined} {}

  joined_endpoints* joined_ = nullptr;
};

/// One open endpoint: what a device object stores.
struct open_endpoint {
  joined_endpoints* group = nullptr;
  endpoint const* which = nullptr;
  pin_class pins = pin_class::pins;

  [[nodiscard]] explicit operator bool() const noexcept { return group != nullptr; }
  /// Empty once closed.
  [[nodiscard]] std::string_view name() const noexcept {
    return which != nullptr ? std::string_view{which->name} : std::string_view{};
  }
};

/// The groups that have joined one backend. Not thread-safe: its backend's lock guards it.
class endpoint_registry {
 public:
  /// How many groups pin for good.
  [[nodiscard]] std::size_t pinning() const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(groups_, [](auto const& one) {
      return !one->gone && one->group.pins() == pin_class::pins;
    }));
  }
  /// The group's class. Requires: `group` has joined.
  [[nodiscard]] static pin_class pins(joined_endpoint_group const& group) noexcept {
    return group.joined_->group.pins();
  }

  /// Fails: `already_there`, not enough memory.
  [[nodiscard]] result<joined_endpoint_group> join(endpoint_group const& group) noexcept {
    if (std::ranges::any_of(groups_, [&](auto const& one) {
          return !one->gone && one->group.name() == group.name();
        })) {
      return failure(error{"join", errc::already_there}.of(group.name()));
    }
    try {
      groups_.push_back(std::make_unique<joined_endpoints>(joined_endpoints{group, 0}));
    } catch (std::exception const&) {
      return failure(error::out_of_memory("join").of(group.name()));
    }
    return joined_endpoint_group{*groups_.back()};
  }

  /// Whether `group` could leave. Fails: `stale_handle`; `still_in_use` while one of its devices is
  /// open.
  [[nodiscard]] result<void> may_leave(joined_endpoint_group const& group) const noexcept {
    if (!group) return failure(error{"leave", errc::stale_handle});
    if (group.joined_->open_devices != 0) {
      return failure(in_use("leave", *group.joined_));
    }
    return {};
  }
  /// Removes `group` and empties the handle. Requires: `may_leave(group)`.
  void leave(joined_endpoint_group& group) noexcept {
    std::erase_if(groups_, [&](auto const& one) { return one.get() == group.joined_; });
    group.joined_ = nullptr;
  }

  /// Whether all groups could be abandoned. Fails: `still_in_use`, naming the first with an open
  /// device.
  [[nodiscard]] result<void> may_abandon() const noexcept {
    const auto busy =
        std::ranges::find_if(groups_, [](auto const& one) { return one->open_devices != 0; });
    return busy == groups_.end() ? result<void>{} : failure(in_use("abandon", **busy));
  }
  /// Drops every group; handles to them are stale from now on. Requires: `may_abandon()`.
  void abandon() noexcept {
    for (auto& one : groups_) one->gone = true;
  }

  /// How the endpoint pins: for good if its group does, because a group is attached as a whole.
  /// Fails: `stale_handle`, `no_such_device`.
  [[nodiscard]] static result<pin_class> classify(joined_endpoint_group const& group,
                                                  std::string_view name) noexcept {
    return find(group, name).map([](open_endpoint const& found) noexcept { return found.pins; });
  }
  /// Counts one more open device. Fails: `stale_handle`, `no_such_device`.
  [[nodiscard]] static result<open_endpoint> open(joined_endpoint_group& group,
                                                  std::string_view name) noexcept {
    auto found = find(group, name);
    if (found) ++found->group->open_devices;
    return found;
  }
  /// Counts one fewer, and empties `device`. Requires: it is open.
  static void close(open_endpoint& device) noexcept {
    --device.group->open_devices;
    device = {};
  }

 private:
  [[nodiscard]] static error in_use(const char* operation,
                                    joined_endpoints const& joined) noexcept {
    return error{operation, errc::still_in_use}
        .of(joined.group.name())
        .advise("close its {} open device(s) first", joined.open_devices);
  }
  [[nodiscard]] static result<open_endpoint> find(joined_endpoint_group const& group,
                                                  std::string_view name) noexcept {
    if (!group) return failure(error{"open", errc::stale_handle}.of(name));
    const auto which = group.joined_->group.find(name);
    if (!which) return failure(which.error());
    const bool for_good = group.joined_->group.pins() == pin_class::pins;
    return open_endpoint{group.joined_, *which, for_good ? pin_class::pins : (*which)->pins};
  }

  std::vector<std::unique_ptr<joined_endpoints>> groups_;
};

}  // namespace tether::detail
