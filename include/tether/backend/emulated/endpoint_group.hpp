// SPDX-License-Identifier: BSL-1.0
// A group of emulated endpoints, for the backends that have no hardware behind them: what
// `/dev/vfio/12` is to VFIO, this is to the software IOMMU and to io_uring's fixed buffers.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tether {

/// A named set of endpoints. It pins for good as soon as one of them does, because a group is
/// attached as a whole.
class endpoint_group {
 public:
  /// A group of these endpoints. Fails: may throw `std::bad_alloc`.
  endpoint_group(std::string name, std::vector<endpoint> endpoints)
      : name_{std::move(name)}, endpoints_{std::move(endpoints)}, by_name_(endpoints_.size()) {
    std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
    std::ranges::sort(by_name_, {}, [this](std::size_t which) {
      return std::pair{std::string_view{endpoints_[which].name}, which};
    });
  }

  /// Its name, for errors.
  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  /// What can be opened in it.
  [[nodiscard]] std::vector<endpoint> const& endpoints() const noexcept { return endpoints_; }

  /// The group's class: `pins` unless every endpoint pins on demand, and for an empty group.
  [[nodiscard]] pin_class pins() const noexcept {
    const bool all_on_demand =
        !endpoints_.empty() && std::ranges::all_of(endpoints_, [](endpoint const& one) {
          return one.pins == pin_class::pins_on_demand;
        });
    return all_on_demand ? pin_class::pins_on_demand : pin_class::pins;
  }

  /// Among equal names the first. Cost: log N for N endpoints. Fails: `no_such_device`.
  [[nodiscard]] result<endpoint const*> find(std::string_view device) const noexcept {
    const auto at = std::ranges::lower_bound(by_name_, device, {}, name_of{endpoints_});
    if (at == by_name_.end() || endpoints_[*at].name != device) {
      return failure(error{"find device", errc::no_such_device}.of(device).advise(
          "name one of the group's endpoints"));
    }
    return &endpoints_[*at];
  }

 private:
  /// The name of the endpoint of an index.
  struct name_of {
    std::vector<endpoint> const& all;
    std::string_view operator()(std::size_t which) const noexcept { return all[which].name; }
  };

  std::string name_;
  std::vector<endpoint> endpoints_;
  std::vector<std::size_t> by_name_;  // their indices
};

namespace detail {

/// An emulated device by itself: in a group of its own name. Fails: `no_such_device` without a
/// name, not enough memory.
[[nodiscard]] inline result<device_in_group<endpoint_group>> locate_alone(
    endpoint const& what) noexcept {
  TETHER_TRY {
    if (what.name.empty()) {
      return failure(error{"find device", errc::no_such_device}.advise(
          "give the endpoint a name: any will do, this backend's devices are emulated"));
    }
    return device_in_group<endpoint_group>{{what.name, {what}}, what.name};
  }
  TETHER_CATCH(std::exception const&) {
    return failure(error::out_of_memory("find device").of(what.name));
  }
}

}  // namespace detail

}  // namespace tether
