// SPDX-License-Identifier: BSL-1.0
// Which emulated groups have joined a backend, and how many of their devices are open: what the
// VFIO core keeps for real ones. Both emulated backends keep one, under their own lock.
//
//     handle (place, life 7) ---> place, life 7: the handle's group
//     handle (place, life 6) ---> the same place, since taken by another group: stale
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace tether::detail {

/// A place for one group that has joined. It stays where it is, because handles refer to it, and
/// the next group takes it: there are as many as groups were ever joined at once.
struct joined_endpoints {
  /// None: the place is free.
  std::optional<endpoint_group> group;
  pin_class pins = pin_class::pins;
  std::size_t open_devices = 0;
  /// Grows by one whenever a group goes: handles of an earlier life are stale.
  std::uint64_t life = 0;
  /// The next free place.
  joined_endpoints* next_free = nullptr;
};

/// The handle of a group that has joined. Empty once it has left, stale once it was abandoned.
/// Move-only. Requires: the backend outlives it.
class joined_endpoint_group {
 public:
  joined_endpoint_group() noexcept = default;
  joined_endpoint_group(joined_endpoint_group&& other) noexcept
      : joined_{std::exchange(other.joined_, nullptr)}, life_{other.life_} {}
  joined_endpoint_group& operator=(joined_endpoint_group&& other) noexcept {
    joined_ = std::exchange(other.joined_, nullptr);
    life_ = other.life_;
    return *this;
  }
  ~joined_endpoint_group() = default;

  [[nodiscard]] explicit operator bool() const noexcept {
    return joined_ != nullptr && joined_->life == life_;
  }
  /// Empty once it has left or was abandoned.
  [[nodiscard]] std::string_view name() const noexcept {
    return *this ? joined_->group->name() : std::string_view{};
  }

 private:
  friend class endpoint_registry;
  explicit joined_endpoint_group(joined_endpoints& joined) noexcept
      : joined_{&joined}, life_{joined.life} {}

  joined_endpoints* joined_ = nullptr;
  std::uint64_t life_ = 0;
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
/// Cost: `join` and `leave` log N for N joined groups, `pinning` constant, whatever was abandoned.
class endpoint_registry {
 public:
  /// How many groups pin for good.
  [[nodiscard]] std::size_t pinning() const noexcept { return pinning_; }
  /// The group's class. Requires: `group` has joined.
  [[nodiscard]] static pin_class pins(joined_endpoint_group const& group) noexcept {
    return group.joined_->pins;
  }

  /// Fails: `already_there`, not enough memory.
  [[nodiscard]] result<joined_endpoint_group> join(endpoint_group const& group) noexcept {
    if (joined_.contains(group.name()))
      return failure(error{"join", errc::already_there}.of(group.name()));
    TETHER_TRY {
      if (free_ == nullptr) {
        places_.push_back(std::make_unique<joined_endpoints>());
        free_ = places_.back().get();
      }
      free_->group = group;
      joined_.emplace(free_->group->name(), free_);
    }
    TETHER_CATCH(std::exception const&) {
      if (free_ != nullptr) free_->group.reset();
      return failure(error::out_of_memory("join").of(group.name()));
    }
    joined_endpoints& place = *free_;
    free_ = std::exchange(place.next_free, nullptr);
    place.pins = group.pins();
    pinning_ += place.pins == pin_class::pins ? 1 : 0;
    return joined_endpoint_group{place};
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
    joined_.erase(group.name());
    empty(*std::exchange(group.joined_, nullptr));
  }

  /// Whether all groups could be abandoned. Fails: `still_in_use`, naming one with an open device.
  [[nodiscard]] result<void> may_abandon() const noexcept {
    const auto busy = std::ranges::find_if(
        joined_, [](auto const& one) { return one.second->open_devices != 0; });
    return busy == joined_.end() ? result<void>{} : failure(in_use("abandon", *busy->second));
  }
  /// Drops every group; handles to them are stale from now on. Requires: `may_abandon()`.
  void abandon() noexcept {
    for (auto const& one : std::exchange(joined_, {})) empty(*one.second);
  }

  /// How the endpoint pins: for good if its group does, because a group is attached as a whole.
  /// Fails: `stale_handle`, `no_such_device`.
  [[nodiscard]] static result<pin_class> classify(joined_endpoint_group const& group,
                                                  std::string_view name) noexcept {
    const auto found = find(group, name);
    if (!found) return failure(found.error());
    return found->pins;
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
        .of(joined.group->name())
        .advise("close its {} open device{|s} first", joined.open_devices);
  }
  [[nodiscard]] static result<open_endpoint> find(joined_endpoint_group const& group,
                                                  std::string_view name) noexcept {
    if (!group) return failure(error{"open", errc::stale_handle}.of(name));
    const auto which = group.joined_->group->find(name);
    if (!which) return failure(which.error());
    const bool for_good = group.joined_->pins == pin_class::pins;
    return open_endpoint{group.joined_, *which, for_good ? pin_class::pins : (*which)->pins};
  }

  /// Frees the place of a group that is not listed any more.
  void empty(joined_endpoints& place) noexcept {
    pinning_ -= place.pins == pin_class::pins ? 1 : 0;
    place.group.reset();
    ++place.life;
    place.next_free = std::exchange(free_, &place);
  }

  std::vector<std::unique_ptr<joined_endpoints>> places_;
  /// By name, which is the group's own in its place.
  std::map<std::string_view, joined_endpoints*> joined_;
  joined_endpoints* free_ = nullptr;
  std::size_t pinning_ = 0;
};

}  // namespace tether::detail
