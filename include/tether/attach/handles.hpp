// SPDX-License-Identifier: BSL-1.0
// Handles to what a container owns. A handle is checked on every use: once its group or device is
// gone it answers `stale_handle`. Copy it freely, or make it the key of a `std::map`. Requires: the
// container is alive, because the handle refers to it; to destroy, copy or compare one asks nothing
// of it. `lease`, `get`, `->` and `*` never wait for an operation in progress, of whatever device.
#pragma once

#include <tether/attach/lease.hpp>
#include <tether/core/error.hpp>
#include <tether/core/label.hpp>
#include <tether/core/stop.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/membership.hpp>

#include <compare>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tether {

namespace detail {

/// A device that a handle names, which must not be gone.
template <class Device>
[[nodiscard]] Device* still_open(Device* device) noexcept {
  if (device == nullptr) [[unlikely]]
    stop(
        "tether[D3]: a device was used by its handle after it was closed or detached: ask get(), "
        "or "
        "use it by a lease, which keeps it open");
  return device;
}

}  // namespace detail

/// A device that was opened.
template <class Container>
class opened_device {
  using device_type = typename Container::device_type;

 public:
  /// The right to use it while other threads close and detach: they are refused until the lease
  /// ends. Fails: `stale_handle`, also while it is being closed (if that fails, it can be leased
  /// again).
  [[nodiscard]] result<device_lease<device_type>> lease() const noexcept {
    auto leased = container_->lease(group_, device_);
    if (!leased) [[unlikely]]
      return failure(container_->named(leased.error()));
    return leased;
  }
  /// What the backend opened (its DMA engine, its regions), or null once it is being closed. Valid
  /// only while no other thread closes or detaches it: where one might, use a `lease`.
  [[nodiscard]] device_type* get() const noexcept {
    return container_->find_device(group_, device_);
  }
  /// As `get`. Requires: not closed, else the program stops (`tether[D3]`), and no other thread
  /// closes or detaches it.
  [[nodiscard]] device_type* operator->() const noexcept { return detail::still_open(get()); }
  [[nodiscard]] device_type& operator*() const noexcept { return *detail::still_open(get()); }

  /// Ends its DMA and closes it. Never needs a hold. Fails: `stale_handle`, `diverged`,
  /// `still_in_use` while a lease of it is outstanding, what the backend says; it stays open then.
  [[nodiscard]] result<void> close() noexcept {
    auto done = container_->close(group_, device_);
    if (!done) [[unlikely]]
      done = failure(container_->named(done.error()));
    return done;
  }

  /// Its name, cut at 47 bytes; empty if it is gone.
  [[nodiscard]] label name() const noexcept { return container_->name_of(group_, device_); }

  /// Equal if they name the same.
  friend auto operator<=>(opened_device const&, opened_device const&) noexcept = default;

 private:
  friend attached_group<Container>;
  friend Container;
  opened_device(Container& container, std::uint64_t group, std::uint64_t device) noexcept
      : container_{&container}, group_{group}, device_{device} {}

  Container* container_;
  std::uint64_t group_;
  std::uint64_t device_;
};

/// A group that was attached.
template <class Container>
class attached_group {
 public:
  /// Opens a device. `agrees_to_discards` says that it tolerates a balloon (opt-in), judged before
  /// anything is touched. Fails, changing nothing: `no_such_device`, `already_there`,
  /// `consent_refused`, `mixed_group`, `unplug_requested`, what the gate says if a hold must be
  /// taken, what the backend says.
  [[nodiscard]] result<opened_device<Container>> open(std::string_view device,
                                                      consent agrees = consent::none) noexcept {
    auto opened = container_->open(group_, device, agrees);
    if (!opened) return failure(container_->named(opened.error()));
    return opened_device<Container>{*container_, opened->group, opened->device};
  }
  /// First step of a hot-unplug: no more devices are opened here, while the guest releases them.
  /// Holds stay.
  [[nodiscard]] result<void> request_unplug() noexcept {
    auto done = container_->request_unplug(group_);
    if (!done) [[unlikely]]
      done = failure(container_->named(done.error()));
    return done;
  }
  /// Takes a request back: devices are opened again. Nothing has changed if none was made. Fails:
  /// `stale_handle`; `unplug_requested` if a device of the group has been closed since: the guest
  /// is releasing it.
  [[nodiscard]] result<void> cancel_unplug() noexcept {
    auto done = container_->cancel_unplug(group_);
    if (!done) [[unlikely]]
      done = failure(container_->named(done.error()));
    return done;
  }
  /// Second step: closes its devices, unmaps if it is the last group, leaves, releases its hold.
  /// Fails: `stale_handle`, `diverged`, `still_in_use` while a lease of one of its devices is
  /// outstanding (nothing has changed then), what the backend says; it stays attached then, perhaps
  /// with fewer devices open.
  [[nodiscard]] result<void> detach() noexcept {
    auto done = container_->detach(group_);
    if (!done) [[unlikely]]
      done = failure(container_->named(done.error()));
    return done;
  }

  /// Its name, cut at 47 bytes; empty if it is gone.
  [[nodiscard]] label name() const noexcept { return container_->name_of(group_, 0); }
  /// Handles to its open devices, in the order in which they were opened. Fails: may throw
  /// `std::bad_alloc`.
  [[nodiscard]] std::vector<opened_device<Container>> devices() const {
    return container_->handles_of(container_->every_device(group_));
  }

  /// Equal if they name the same.
  friend auto operator<=>(attached_group const&, attached_group const&) noexcept = default;

 private:
  friend Container;
  attached_group(Container& container, std::uint64_t group) noexcept
      : container_{&container}, group_{group} {}

  Container* container_;
  std::uint64_t group_;
};

/// A device that was attached by itself, or by its name (`attach(endpoint)`).
template <class Container>
class attached_device {
  using device_type = typename Container::device_type;

 public:
  /// The right to use it while other threads detach: they are refused until the lease ends. Fails:
  /// `stale_handle`, also while it is being detached (if that fails, it can be leased again).
  [[nodiscard]] result<device_lease<device_type>> lease() const noexcept {
    auto leased = container_->lease(group_, device_);
    if (!leased) [[unlikely]]
      return failure(container_->named(leased.error()));
    return leased;
  }
  /// What the backend opened (its regions, its interrupts), or null once it is being detached.
  /// Valid only while no other thread detaches it: where one might, use a `lease`.
  [[nodiscard]] device_type* get() const noexcept {
    return container_->find_device(group_, device_);
  }
  /// As `get`. Requires: not detached, else the program stops (`tether[D3]`), and no other thread
  /// detaches it.
  [[nodiscard]] device_type* operator->() const noexcept { return detail::still_open(get()); }
  [[nodiscard]] device_type& operator*() const noexcept { return *detail::still_open(get()); }

  /// First step of a hot-unplug: no more devices of its group are attached, while the guest
  /// releases them. Holds stay.
  [[nodiscard]] result<void> request_unplug() noexcept {
    auto done = container_->request_unplug(group_);
    if (!done) [[unlikely]]
      done = failure(container_->named(done.error()));
    return done;
  }
  /// Takes a request back: devices are attached again. Nothing has changed if none was made. Fails:
  /// `stale_handle`; `unplug_requested` if a device of the group has been closed since: the guest
  /// is releasing it.
  [[nodiscard]] result<void> cancel_unplug() noexcept {
    auto done = container_->cancel_unplug(group_);
    if (!done) [[unlikely]]
      done = failure(container_->named(done.error()));
    return done;
  }
  /// Second step: unmaps if it is the last device, leaves, closes, releases its hold.
  /// Fails: `stale_handle`, `diverged`, `still_in_use` while a lease of it is outstanding, what the
  /// backend says; it stays attached then, and everything is as it was; but where its group is
  /// detached with it, the device may be closed already: detach it again.
  [[nodiscard]] result<void> detach() noexcept {
    auto done = container_->detach(group_, device_);
    if (!done) [[unlikely]]
      done = failure(container_->named(done.error()));
    return done;
  }

  /// Its name, cut at 47 bytes; empty if it is gone.
  [[nodiscard]] label name() const noexcept { return container_->name_of(group_, device_); }

  /// Equal if they name the same.
  friend auto operator<=>(attached_device const&, attached_device const&) noexcept = default;

 private:
  friend Container;
  attached_device(Container& container, std::uint64_t group, std::uint64_t device) noexcept
      : container_{&container}, group_{group}, device_{device} {}

  Container* container_;
  std::uint64_t group_;
  std::uint64_t device_;
};

}  // namespace tether
