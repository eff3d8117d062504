// SPDX-License-Identifier: BSL-1.0
// Which operations a container has: those on groups, or those on single devices. The backend's
// `unit` says which.
#pragma once

#include <tether/attach/detail/device_operations.hpp>
#include <tether/attach/detail/group_operations.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>

#include <cstdint>
#include <mutex>

namespace tether::detail {

template <class Backend, class Configuration, attach_unit Unit = Backend::unit>
struct operations_for {
  using type = group_operations<Backend, Configuration>;
};
template <class Backend, class Configuration>
struct operations_for<Backend, Configuration, attach_unit::device> {
  using type = device_operations<Backend, Configuration>;
};
/// The first step of a hot-unplug, and back.
template <class Operations>
class with_unplug : public Operations {
 public:
  using Operations::Operations;

 protected:
  result<void> request_unplug(std::uint64_t id) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("request unplug"));
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(stale("request unplug"));
    std::lock_guard moment{this->records_};
    group->unplug_requested = true;
    return {};
  }
  /// Unless the guest has begun to release what was asked for.
  result<void> cancel_unplug(std::uint64_t id) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("cancel unplug"));
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(stale("cancel unplug"));
    if (group->unplug_answered)
      return failure(error{"cancel unplug", errc::unplug_requested}
                         .of(group->name)
                         .advise("a device of it has been closed since: detach it"));
    std::lock_guard moment{this->records_};
    group->unplug_requested = false;
    return {};
  }
};
template <class Backend, class Configuration>
using operations_of = with_unplug<typename operations_for<Backend, Configuration>::type>;

template <class Backend, attach_unit Unit = Backend::unit>
struct source_of {
  using type = typename Backend::group_type;
};
template <class Backend>
struct source_of<Backend, attach_unit::device> {
  using type = typename Backend::endpoint_type;
};

}  // namespace tether::detail
