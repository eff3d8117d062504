// SPDX-License-Identifier: BSL-1.0
// One operation in progress: its group and device, its calls into the backend, and the first error.
// The acts are the same for groups and for single devices; `group_task` and `device_task` say what
// each means.
#pragma once

#include <tether/attach/detail/records.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/listen/progress.hpp>

#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tether::detail {

[[nodiscard, gnu::cold, gnu::noinline]] inline error refused_consent(
    std::string_view device) noexcept {
  return error{"open device", errc::consent_refused}.of(device).advise(
      "open it without agrees_to_discards");
}

[[nodiscard, gnu::cold, gnu::noinline]] inline error refused_mixture(
    std::string_view device) noexcept {
  const error why{"open device", errc::mixed_group};
  return why.of(device).advise("choose inhibit_per_device, or open all devices of the group alike");
}

/// An error, once there is one. Until then its room stays as it is: g++ fills a `std::optional`'s
/// with zeros, all of it, in every operation that succeeds.
class error_if_any {
 public:
  error_if_any() noexcept {}
  explicit operator bool() const noexcept { return there_; }
  error_if_any& operator=(error const& why) noexcept {
    std::construct_at(&why_, why);
    there_ = true;
    return *this;
  }
  [[nodiscard]] error const& operator*() const noexcept { return why_; }

 private:
  static_assert(std::is_trivially_copyable_v<error>);
  bool there_ = false;
  union {
    error why_;
  };
};

/// The state of an operation.
template <class Backend, class Inhibition, class Monitor>
struct task {
  group_record<Backend, Inhibition>& group;
  device_record<Backend>* device = nullptr;
  consent agrees = consent::none;
  Monitor* who = nullptr;
  error_if_any first_error{};

  outcome end(result<void> const& done) noexcept {
    if (done) [[likely]]
      return outcome::done;
    if (!first_error) first_error = done.error();
    return done.error().rollback_failed() ? outcome::stuck : outcome::failed;
  }

 protected:
  /// Stores what a backend returned.
  template <class Answer, class Place>
  static result<void> keep(Answer&& answer, Place& place) noexcept {
    if (!answer) [[unlikely]]
      return failure(answer.error());
    place.emplace(std::move(*answer));
    return {};
  }
};

/// On a group: it joins, then its devices are opened.
template <class Backend, class Inhibition, class Monitor = unmonitored>
struct group_task : task<Backend, Inhibition, Monitor> {
  typename Backend::group_type const* description = nullptr;

  result<pin_class> classify(Backend& backend) noexcept {
    return backend.classify(*this->group.joined, this->device->name);
  }
  result<void> acquire(Backend& backend) noexcept {
    return this->keep(backend.acquire(*description), this->group.joined);
  }
  void release() noexcept { this->group.joined.reset(); }
  result<void> join(Backend& backend) noexcept {
    if constexpr (has_kvm_file<Backend>) {
      if (this->group.joined) return backend.join(*this->group.joined);
    }
    return this->keep(backend.join(*description), this->group.joined);
  }
  /// Where KVM is told, the descriptor is still needed to make it forget; `release` closes it then.
  template <bool TellsKvm>
  result<void> leave(Backend& backend) noexcept {
    auto left = backend.leave(*this->group.joined);
    if constexpr (!TellsKvm) {
      if (left) this->group.joined.reset();
    }
    return left;
  }
  result<void> open(Backend& backend) noexcept {
    return this->keep(backend.open(*this->group.joined, this->device->name), this->device->device);
  }
  result<void> close(Backend& backend) noexcept { return backend.close(*this->device->device); }

  /// What KVM is told.
  [[nodiscard]] int kvm_file() const noexcept { return Backend::kvm_file(*this->group.joined); }
  [[nodiscard]] std::string_view kvm_name() const noexcept { return this->group.name; }
};

/// On a single device.
template <class Backend, class Inhibition, class Monitor = unmonitored>
struct device_task : task<Backend, Inhibition, Monitor> {
  typename Backend::endpoint_type const* description = nullptr;

  result<pin_class> classify(Backend& backend) noexcept { return backend.classify(*description); }
  /// The node may be another device's by now than when it was judged: it is classified again.
  /// Nothing is bound yet, so closing it leaves nothing behind.
  result<void> open(Backend& backend) noexcept {
    auto opened = this->keep(backend.open(*description), this->device->device);
    if constexpr (classifies_opened_device<Backend>) {
      if (opened && this->agrees == consent::given &&
          backend.classify(*this->device->device) != pin_class::pins_on_demand) {
        const error why = refused_consent(this->device->name);
        opened = failure(backend.close(*this->device->device) ? why : why.with_failed_rollback());
        this->device->device.reset();
      }
    }
    return opened;
  }
  result<void> bind(Backend& backend) noexcept { return backend.bind(*this->device->device); }
  result<void> join(Backend& backend) noexcept { return backend.join(*this->device->device); }
  template <bool>
  result<void> leave(Backend& backend) noexcept {
    return backend.leave(*this->device->device);
  }
  result<void> close(Backend& backend) noexcept { return backend.close(*this->device->device); }

  [[nodiscard]] int kvm_file() const noexcept { return Backend::kvm_file(*this->device->device); }
  [[nodiscard]] std::string_view kvm_name() const noexcept { return this->device->name; }
};

}  // namespace tether::detail
