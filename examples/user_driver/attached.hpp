// SPDX-License-Identifier: BSL-1.0
// One device on one IOMMU, without a container: joined and opened here, closed and left at the end.
// A type1 container takes groups, of which devices are opened; an iommufd takes single devices; which
// of a device's name it is, the backend finds.
#pragma once

#include "must.hpp"

#include <tether/backend/concepts.hpp>
#include <tether/backend/endpoint.hpp>

namespace user_driver {

/// Requires: the backend outlives it; what was mapped for the device is unmapped before it ends,
/// and nothing of the device is mapped any more.
template <class Backend>
class attached {
 public:
  attached(Backend& iommu, tether::endpoint const& device)
      : attached{iommu, must(iommu.locate(device))} {}
  attached(attached const&) = delete;
  attached& operator=(attached const&) = delete;
  ~attached() {
    static_cast<void>(iommu_.close(device_));
    static_cast<void>(iommu_.leave(group_));
  }
  [[nodiscard]] typename Backend::device_type& device() noexcept { return device_; }

 private:
  using found = tether::device_in_group<typename Backend::group_type>;
  attached(Backend& iommu, found const& what)
      : iommu_{iommu},
        group_{must(iommu.join(what.group))},
        device_{must(iommu.open(group_, what.device))} {}

  Backend& iommu_;
  typename Backend::joined_group group_;
  typename Backend::device_type device_;
};

template <class Backend>
  requires(Backend::unit == tether::attach_unit::device)
class attached<Backend> {
 public:
  attached(Backend& iommu, tether::endpoint const& device)
      : iommu_{iommu}, device_{must(iommu.open(must(iommu.locate(device))))} {
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
