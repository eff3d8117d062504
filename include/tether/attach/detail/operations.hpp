// SPDX-License-Identifier: BSL-1.0
// Which operations a container has: those on groups, or those on single devices. The backend's
// `unit` says which.
#pragma once

#include <tether/attach/detail/device_operations.hpp>
#include <tether/attach/detail/group_operations.hpp>
#include <tether/core/attachment.hpp>

namespace tether::detail {

template <class Backend, class Configuration, attach_unit Unit = Backend::unit>
struct operations_for {
  using type = group_operations<Backend, Configuration>;
};
template <class Backend, class Configuration>
struct operations_for<Backend, Configuration, attach_unit::device> {
  using type = device_operations<Backend, Configuration>;
};
template <class Backend, class Configuration>
using operations_of = typename operations_for<Backend, Configuration>::type;

template <class Backend, attach_unit Unit = Backend::unit>
struct source_of {
  using type = typename Backend::group_type;
};
template <class Backend>
struct source_of<Backend, attach_unit::device> {
  using type = typename Backend::endpoint_type;
};

}  // namespace tether::detail
