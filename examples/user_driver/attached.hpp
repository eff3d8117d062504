// SPDX-License-Identifier: BSL-1.0
// One device on one IOMMU, without a container: joined and opened here, closed and left at the end.
// A type1 container takes groups, of which devices are opened; an iommufd takes single devices.
#pragma once

#include "must.hpp"

#include <tether/backend/concepts.hpp>

#include <string>

namespace user_driver {

/// Requires: the backend outlives it; what was mapped for the device is unmapped before it ends,
/// and nothing of the device is mapped any more.
template <class Backend>
class attached {
 public:
  attached(Backend& iommu, typename Backend::group_type const& group, std::string const& device)
      : iommu_{iommu}, group_{must(iommu.join(group))}, device_{must(iommu.open(group_, device))} {}
  attached(attached const&) = delete;
  attached& operator=(attached const&) = delete;
  ~attached() {
    static_cast<void>(iommu_.close(device_));
    static_cast<void>(iommu_.leave(group_));
  }
  [[nodiscard]] typename Backend::device_type& device() noexcept { return device_; }

 private:
  Backend& iommu_;
  typename Backend::joined_group group_;
  typename Backend::device_type device_;
};

template <class Backend>
  requires(Backend::unit == tether::attach_unit::device)
class attached<Backend> {
 public:
  attached(Backend& iommu, typename Backend::endpoint_type const& endpoint, std::string const&)
      : iommu_{iommu}, device_{must(iommu.open(endpoint))} {
    must(iommu_.bind(device_));
    must(iommu_.join(device_));
  }
  attached(attached const&) = delete;
  attached& operator=(attached const&) = delete;
  ~attached() {
    static_cast<void>(iommu_.leave(device_));
    static_cast<void>(iommu_.close(device_));
  }
  [[nodiscard]] typename Backend::device_type& device() noexcept { return device_; }

 private:
  Backend& iommu_;
  typename Backend::device_type device_;
};

}  // namespace user_driver
