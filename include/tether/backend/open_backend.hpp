// SPDX-License-Identifier: BSL-1.0
// Opens a backend, of whatever type: so that a program changes backends by changing an alias.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <concepts>
#include <exception>
#include <utility>

namespace tether {

/// Opens a backend: by its `open` if it has one that `how` suits, else by its constructor.
///
///     auto iommu = open_backend<software_iommu>();  // or vfio_type1, iommufd, io_uring_buffers
///
/// `vfio_type1` and `software_iommu` open nothing before the first attach.
/// Fails: as the backend's `open`; not enough memory.
template <backend Backend, class... Options>
  requires std::constructible_from<Backend, Options...> || requires(Options&&... options) {
    { Backend::open(std::forward<Options>(options)...) } -> std::same_as<result<Backend>>;
  }
[[nodiscard]] result<Backend> open_backend(Options&&... how) noexcept {
  TETHER_TRY {
    if constexpr (requires {
                    {
                      Backend::open(std::forward<Options>(how)...)
                    } -> std::same_as<result<Backend>>;
                  })
      return Backend::open(std::forward<Options>(how)...);
    else return Backend{std::forward<Options>(how)...};
  }
  TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("open backend")); }
}

}  // namespace tether
