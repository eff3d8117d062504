// SPDX-License-Identifier: BSL-1.0
// An emulated backend whose devices are attached one by one, as iommufd's are, so that those plans
// run on real memory, with real pins and a hostile balloon, without hardware. To the backend
// underneath each device is a group of its own.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tether_test {

/// A device, the IOMMU group that sysfs would report, and how it pins.
class lone_endpoint {
 public:
  lone_endpoint(std::string name, std::string group,
                tether::pin_class pins = tether::pin_class::pins)
      : name_{std::move(name)}, group_{std::move(group)}, pins_{pins} {}

  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  [[nodiscard]] std::string_view group() const noexcept { return group_; }
  [[nodiscard]] tether::pin_class pins() const noexcept { return pins_; }

 private:
  std::string name_;
  std::string group_;
  tether::pin_class pins_;
};

template <class Backend>
class ungrouped {
  struct state {
    lone_endpoint is;
    bool open = true;
    bool bound = false;
    bool busy = false;
    std::optional<typename Backend::joined_group> joined{};
    std::optional<typename Backend::device_type> engine{};
  };

 public:
  static constexpr bool pins = Backend::pins;
  static constexpr tether::attach_unit unit = tether::attach_unit::device;
  using endpoint_type = lone_endpoint;

  class device_type {
   public:
    [[nodiscard]] std::string_view name() const noexcept { return state_->is.name(); }
    [[nodiscard]] bool bound() const noexcept { return state_->bound; }
    /// As if a BAR were mapped: the device can neither leave nor be closed.
    void keep_busy(bool busy) noexcept { state_->busy = busy; }
    [[nodiscard]] tether::result<void> dma_read(tether::io_address at,
                                                std::span<std::byte> into) noexcept {
      if (!state_->engine) return unreachable(at);
      return state_->engine->dma_read(at, into);
    }
    [[nodiscard]] tether::result<void> dma_write(tether::io_address at,
                                                 std::span<std::byte const> from) noexcept {
      if (!state_->engine) return unreachable(at);
      return state_->engine->dma_write(at, from);
    }

   private:
    friend ungrouped;
    explicit device_type(lone_endpoint const& is) : state_{std::make_unique<state>(state{is})} {}
    [[nodiscard]] static tether::result<void> unreachable(tether::io_address at) noexcept {
      return tether::failure(tether::error{"DMA", tether::errc::not_mapped}.at(
          tether::extent<tether::io_address>{at, at}));
    }
    std::unique_ptr<state> state_;
  };

  explicit ungrouped(Backend inner) : inner_{std::move(inner)} {}
  [[nodiscard]] Backend const& inner() const noexcept { return inner_; }

  [[nodiscard]] tether::result<void> map(tether::mapping const& what) noexcept {
    return inner_.map(what);
  }
  [[nodiscard]] tether::result<void> unmap(tether::extent<tether::io_address> where) noexcept {
    return inner_.unmap(where);
  }
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return inner_.page_sizes(); }
  [[nodiscard]] auto usable_iova() const noexcept { return inner_.usable_iova(); }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept { return inner_.free_mappings(); }
  [[nodiscard]] tether::result<void> quiesce() noexcept { return inner_.quiesce(); }

  [[nodiscard]] tether::result<tether::pin_class> classify(endpoint_type const& device) noexcept {
    return device.pins();
  }
  [[nodiscard]] tether::result<device_type> open(endpoint_type const& device) noexcept {
    return device_type{device};
  }
  [[nodiscard]] tether::result<void> bind(device_type& device) noexcept {
    device.state_->bound = true;
    return {};
  }
  [[nodiscard]] tether::result<void> join(device_type& device) noexcept {
    state& it = *device.state_;
    if (!it.bound)
      return tether::failure(tether::error{"join", tether::errc::stale_handle}.of(it.is.name()));
    const std::string name{it.is.name()};
    auto joined = inner_.join(tether::endpoint_group{name, {{name, it.is.pins()}}});
    if (!joined) return tether::failure(joined.error());
    it.joined.emplace(std::move(*joined));
    auto engine = inner_.open(*it.joined, name);
    if (!engine) return tether::failure(engine.error());
    it.engine.emplace(std::move(*engine));
    joined_.push_back(device.state_.get());
    return {};
  }
  [[nodiscard]] tether::result<void> leave(device_type& device) noexcept {
    return leave(*device.state_);
  }
  [[nodiscard]] tether::result<void> close(device_type& device) noexcept {
    state& it = *device.state_;
    if (!it.open)
      return tether::failure(tether::error{"close", tether::errc::stale_handle}.of(it.is.name()));
    if (it.busy)
      return tether::failure(tether::error{"close", tether::errc::still_in_use}.of(it.is.name()));
    it.open = it.bound = false;
    return {};
  }
  [[nodiscard]] tether::result<void> abandon() noexcept {
    while (!joined_.empty()) {
      if (auto left = leave(*joined_.back()); !left) return left;
    }
    return inner_.abandon();
  }

 private:
  tether::result<void> leave(state& it) noexcept {
    if (it.busy)
      return tether::failure(tether::error{"leave", tether::errc::still_in_use}.of(it.is.name()));
    if (it.engine) {
      if (auto closed = inner_.close(*it.engine); !closed) return closed;
      it.engine.reset();
    }
    auto left = inner_.leave(*it.joined);
    if (!left) return left;
    it.joined.reset();
    std::erase(joined_, &it);
    return {};
  }

  std::vector<state*> joined_;
  Backend inner_;
};

/// A model for `passthrough` (support/passthrough.hpp) whose devices are attached one by one.
template <class Model>
struct one_by_one {
  using backend_type = ungrouped<typename Model::backend_type>;
  static constexpr const char* name = Model::name;
  static tether::result<backend_type> make() {
    auto inner = Model::make();
    if (!inner) return tether::failure(inner.error());
    return backend_type{std::move(*inner)};
  }
  static std::uint64_t pinned(backend_type const& backend) {
    return Model::pinned(backend.inner());
  }
};

inline lone_endpoint lone_nic(const char* name = "nic", const char* group = "7") {
  return {name, group};
}
inline lone_endpoint lone_vgpu(const char* name = "vgpu", const char* group = "9") {
  return {name, group, tether::pin_class::pins_on_demand};
}

}  // namespace tether_test
