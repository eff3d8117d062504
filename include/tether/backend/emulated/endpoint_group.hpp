// SPDX-License-Identifier: BSL-1.0
// A group of emulated endpoints, for the backends that have no hardware behind them: what
// `/dev/vfio/12` is to VFIO, this is to the software IOMMU and to io_uring's fixed buffers.
#pragma once

#include <tether/backend/concepts.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tether {

/// One emulated device: its name, and how its DMA pins.
struct endpoint {
  std::string name;
  pin_class pins = pin_class::pins;
};

/// A named set of endpoints. It pins for good as soon as one of them does, because a group is
/// attached as a whole.
class endpoint_group {
 public:
  endpoint_group(std::string name, std::vector<endpoint> endpoints)
      : name_{std::move(name)}, endpoints_{std::move(endpoints)} {}

  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  [[nodiscard]] std::vector<endpoint> const& endpoints() const noexcept { return endpoints_; }

  /// The group's class: `pins` unless every endpoint pins on demand, and for an empty group.
  [[nodiscard]] pin_class pins() const noexcept {
    const bool all_on_demand =
        !endpoints_.empty() && std::ranges::all_of(endpoints_, [](endpoint const& one) {
          return one.pins == pin_class::pins_on_demand;
        });
    return all_on_demand ? pin_class::pins_on_demand : pin_class::pins;
  }

  /// Fails: `no_such_device`.
  [[nodiscard]] result<endpoint const*> find(std::string_view device) const noexcept {
    const auto at = std::ranges::find(endpoints_, device, &endpoint::name);
    if (at == endpoints_.end()) {
      return failure(error{"find device", errc::no_such_device}.of(device).advise(
          "name one of the group's endpoints"));
    }
    return &*at;
  }

 private:
  std::string name_;
  std::vector<endpoint> endpoints_;
};

}  // namespace tether
