// SPDX-License-Identifier: BSL-1.0
// Devices passed through by a container of tether: attached, detached, and their registers.
//
//     guest  --registers-->  window: KVM's memory slot --> BAR 0     (each at its own address)
//                            or, if it cannot be mapped whole, an exit and a call to the kernel
//     device --DMA--> IOMMU --> guest memory                         (what the container maps)
#pragma once

#include "passthrough.hpp"

#include <tether/tether.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace vmm {

/// `Container`: a `tether::container` that tells KVM, and remembers what it has pinned (`audited`).
template <class Container>
class passthrough_over final : public passthrough {
  using backend = typename Container::backend_type;

 public:
  passthrough_over(tether::address_space& guest, tether::discard_gate<>& gate, backend with,
                   tether::kvm_device_for<backend> told, virtual_machine& kvm)
      : dma_{guest, gate, std::move(with), std::move(told)}, kvm_{kvm} {}

  tether::result<std::uint64_t> attach(std::string_view address) override {
    if (const std::lock_guard lock{mutex_}; attached_.size() == windows) {
      const tether::error full{"attach", tether::errc::still_in_use};
      return tether::failure(
          full.of(address).advise("{} devices are attached: detach one", windows));
    }
    auto plugged = dma_.attach(tether::endpoint{std::string{address}});
    if (!plugged) return tether::failure(plugged.error());
    auto& device = *plugged;
    if (auto on = device->enable_bus_mastering(); !on) {
      static_cast<void>(device.detach());
      return tether::failure(on.error());
    }
    const std::lock_guard lock{mutex_};
    std::uint64_t window = 0;
    while (taken(window)) ++window;
    attached_.push_back({std::string{address}, window, device, std::nullopt});
    if (auto bar = device->map_bar(0); bar && bar->size() <= window_bytes) {
      auto& registers = attached_.back().registers.emplace(std::move(*bar));
      try {
        kvm_.show(slot_of(window), address_of(window), host_of(registers), registers.size());
      } catch (...) {
        attached_.back().registers.reset();
        static_cast<void>(device.detach());
        attached_.pop_back();
        throw;
      }
    }
    return address_of(window);
  }
  tether::result<void> detach(std::string_view address) override {
    const std::lock_guard lock{mutex_};
    const auto which = std::ranges::find(attached_, address, &attached::address);
    if (which == attached_.end())
      return tether::failure(tether::error{"detach", tether::errc::no_such_device}.of(address));
    if (which->registers) {  // a device whose BAR is mapped stays open
      kvm_.show(slot_of(which->window), address_of(which->window), nullptr, 0);
      which->registers.reset();
    }
    if (auto gone = which->device.detach(); !gone) return gone;
    attached_.erase(which);
    return {};
  }
  [[nodiscard]] tether::mapped_usage usage() const override { return dma_.usage(); }

  bool read(std::uint64_t address, std::span<std::byte> into) override {
    return with_window(address, [&](auto& device, std::uint64_t offset) {
      for_each_part(offset, into.size(), [&](auto number, std::uint64_t at) {
        using number_type = decltype(number);
        const auto value =
            device.template read_region<number_type>(0, at).value_or(~number_type{0});
        std::memcpy(into.data() + (at - offset), &value, sizeof value);
      });
    });
  }
  bool write(std::uint64_t address, std::span<std::byte const> from) override {
    return with_window(address, [&](auto& device, std::uint64_t offset) {
      for_each_part(offset, from.size(), [&](auto number, std::uint64_t at) {
        std::memcpy(&number, from.data() + (at - offset), sizeof number);
        static_cast<void>(device.template write_region<decltype(number)>(0, at, number));
      });
    });
  }

  tether::result<tether::audit_report> audit() override { return tether::audit(dma_); }

 private:
  struct attached {
    std::string address;
    std::uint64_t window;
    tether::attached_device<Container> device;
    std::optional<tether::bar_view> registers;
  };
  [[nodiscard]] static std::uint64_t address_of(std::uint64_t window) noexcept {
    return first_window + window * window_bytes;
  }
  /// KVM's number for it: behind the guest's memory.
  [[nodiscard]] static std::uint32_t slot_of(std::uint64_t window) noexcept {
    return static_cast<std::uint32_t>(8 + window);
  }
  [[nodiscard]] static std::byte const* host_of(tether::bar_view const& bar) noexcept {
    return reinterpret_cast<std::byte const*>(static_cast<std::uintptr_t>(bar.host().value));
  }
  [[nodiscard]] bool taken(std::uint64_t window) const {
    return std::ranges::find(attached_, window, &attached::window) != attached_.end();
  }
  template <class Use>
  bool with_window(std::uint64_t address, Use use) {
    if (address < first_window) return false;
    const std::lock_guard lock{mutex_};
    const std::uint64_t window = (address - first_window) / window_bytes;
    const auto which = std::ranges::find(attached_, window, &attached::window);
    if (which == attached_.end()) return false;
    use(*which->device, (address - first_window) % window_bytes);
    return true;
  }
  /// A guest's access of 1 to 8 bytes, as accesses that a device knows.
  template <class Access>
  static void for_each_part(std::uint64_t offset, std::size_t bytes, Access access) {
    if (bytes == 8 && offset % 8 == 0) return access(std::uint64_t{0}, offset);
    if (bytes == 4 && offset % 4 == 0) return access(std::uint32_t{0}, offset);
    if (bytes == 2 && offset % 2 == 0) return access(std::uint16_t{0}, offset);
    for (std::size_t byte = 0; byte < bytes; ++byte) access(std::uint8_t{0}, offset + byte);
  }

  Container dma_;
  virtual_machine& kvm_;
  std::mutex mutex_;  // around what is attached
  std::list<attached> attached_;
};

}  // namespace vmm
