// SPDX-License-Identifier: BSL-1.0
// A minimal VFIO device: regions, configuration space, BARs, bus mastering, reset and interrupts
// through an eventfd. Enough to drive a real device.
#pragma once

#include <tether/backend/vfio/bar_view.hpp>
#include <tether/backend/vfio/capability_chain.hpp>
#include <tether/backend/vfio/device_state.hpp>
#include <tether/backend/vfio/interrupts.hpp>
#include <tether/backend/vfio/region.hpp>
#include <tether/backend/vfio/vf_token.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>
#include <tether/fwd.hpp>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace tether {

/// An open device. Move-only; closed by its container.
template <class Kernel>
class basic_vfio_device {
 public:
  basic_vfio_device(basic_vfio_device&& other) noexcept = default;
  basic_vfio_device& operator=(basic_vfio_device&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~basic_vfio_device() {
    if (state_ != nullptr && state_->views.drop_handle()) static_cast<void>(state_.release());
  }

  /// Opens a device through its group's descriptor, with a token where it needs one. Fails:
  /// `no_such_device`, EACCES without the right token, EINVAL with a needless one, the kernel's
  /// errno.
  [[nodiscard]] static result<basic_vfio_device> open(int group, std::string_view name,
                                                      vf_token const* token = nullptr) noexcept {
    TETHER_TRY {
      std::string asked_for{name};
      if (token != nullptr) asked_for.append(" vf_token=").append(token->text());
      const auto answer =
          Kernel::call(SYS_ioctl, group, VFIO_GROUP_GET_DEVICE_FD, asked_for.c_str());
      if (answer < 0)
        return failure(detail::why_not_open(name, static_cast<int>(-answer), token != nullptr));
      return adopt(kernel_descriptor<Kernel>{answer}, name);
    }
    TETHER_CATCH(std::bad_alloc const&) {
      return failure(error::out_of_memory("open device").of(name));
    }
  }
  /// Takes ownership of a descriptor of the device's own node. The kernel refuses almost every
  /// request until it is bound to an iommufd. Fails: not enough memory.
  [[nodiscard]] static result<basic_vfio_device> adopt(kernel_descriptor<Kernel> node,
                                                       std::string_view name) noexcept {
    TETHER_TRY {
      auto state = std::make_unique<detail::vfio_device_state<Kernel>>();
      state->name = name;
      state->descriptor = std::move(node);
      return basic_vfio_device{std::move(state)};
    }
    TETHER_CATCH(std::bad_alloc const&) {
      return failure(error::out_of_memory("open device").of(name));
    }
  }

  /// Its name, for errors.
  [[nodiscard]] std::string_view name() const noexcept { return state_->name; }
  /// For interfaces that tether does not wrap. Owned by the device. Negative once it is closed.
  [[nodiscard]] int descriptor() const noexcept { return state_->descriptor.number(); }
  /// BARs that are mapped now.
  [[nodiscard]] unsigned views() const noexcept { return state_->views.count(); }

  /// `index` is VFIO's: 0 to 5 the BARs, `VFIO_PCI_CONFIG_REGION_INDEX` the configuration space.
  [[nodiscard]] result<vfio_region> region(std::uint32_t index) const noexcept {
    vfio_region_info info{};
    info.argsz = sizeof info;
    info.index = index;
    if (auto done = control("read region info", VFIO_DEVICE_GET_REGION_INFO, &info); !done)
      return failure(done.error());
    return vfio_region{info.size, info.offset, (info.flags & VFIO_REGION_INFO_FLAG_MMAP) != 0};
  }

  /// Maps a whole BAR. Fails: `unsupported` if it is absent, or cannot be mapped whole; the
  /// kernel's errno.
  [[nodiscard]] result<basic_bar_view<Kernel>> map_bar(std::uint32_t index) noexcept {
    const auto bar = layout(index);
    if (!bar) return failure(bar.error());
    if (bar->areas.empty()) return failure(not_mappable(index));
    const vfio_area whole{0, bar->region.size};
    if (bar->areas.front() == whole) return map_area(bar->region, whole);
    return failure(error{"map BAR", errc::unsupported}.of(name()).advise(
        "only parts of region {} can be mapped: use map_areas(), and read_region() and "
        "write_region() for the rest",
        index));
  }
  /// Maps every area of a BAR that the kernel lets be mapped, all or none, each as a view: one for
  /// a whole BAR. The rest is for `read_region` and `write_region`. Fails: `unsupported` if it is
  /// absent or nothing of it can be mapped, the kernel's errno, not enough memory.
  [[nodiscard]] result<std::vector<basic_bar_view<Kernel>>> map_areas(
      std::uint32_t index) noexcept {
    const auto bar = layout(index);
    if (!bar) return failure(bar.error());
    if (bar->areas.empty()) return failure(not_mappable(index));
    std::vector<basic_bar_view<Kernel>> views;
    if (!detail::make_room(views, bar->areas.size()))
      return failure(error::out_of_memory("map BAR").of(name()));
    for (vfio_area const& one : bar->areas) {
      auto mapped = map_area(bar->region, one);
      if (!mapped) return failure(mapped.error());
      views.push_back(std::move(*mapped));
    }
    return views;
  }

  /// Reads or writes a register of any region, mappable or not, by a call to the kernel, in the
  /// device's byte order. `offset` in bytes. Fails: `past_the_end`, the kernel's errno, EIO where
  /// it moved fewer bytes.
  template <class T>
  [[nodiscard]] result<T> read_region(std::uint32_t index, std::uint64_t offset) const noexcept {
    T value{};
    auto done = transfer("read region", index, SYS_pread64, &value, sizeof value, offset);
    if (!done) return failure(done.error());
    return value;
  }
  template <class T>
  result<void> write_region(std::uint32_t index, std::uint64_t offset,
                            std::type_identity_t<T> value) noexcept {
    return transfer("write region", index, SYS_pwrite64, &value, sizeof value, offset);
  }
  /// Reads or writes configuration space, little-endian as PCI has it. `offset` in bytes.
  template <class T>
  [[nodiscard]] result<T> read_config(std::uint64_t offset) const noexcept {
    T value{};
    auto done = transfer(config_access, VFIO_PCI_CONFIG_REGION_INDEX, SYS_pread64, &value,
                         sizeof value, offset);
    if (!done) return failure(done.error());
    return value;
  }
  template <class T>
  result<void> write_config(std::uint64_t offset, std::type_identity_t<T> value) noexcept {
    return transfer(config_access, VFIO_PCI_CONFIG_REGION_INDEX, SYS_pwrite64, &value, sizeof value,
                    offset);
  }

  /// Enables memory space (BARs) and bus mastering (DMA).
  result<void> enable_bus_mastering() noexcept {
    auto command = read_config<std::uint16_t>(PCI_COMMAND);
    if (!command) return failure(command.error());
    return write_config<std::uint16_t>(
        PCI_COMMAND,
        static_cast<std::uint16_t>(*command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER));
  }
  /// Fails: `unsupported` where the device says that it has no reset of its own; the kernel's
  /// errno.
  [[nodiscard]] result<void> reset() noexcept {
    const auto answer = Kernel::call(SYS_ioctl, descriptor(), VFIO_DEVICE_RESET);
    if (answer >= 0) return {};
    vfio_device_info info{};
    info.argsz = sizeof info;
    if (control("read device info", VFIO_DEVICE_GET_INFO, &info) &&
        (info.flags & VFIO_DEVICE_FLAGS_RESET) == 0) {
      return failure(error{"reset device", errc::unsupported}.of(name()).advise(
          "it has no reset of its own: reset its bus (VFIO_DEVICE_PCI_HOT_RESET) instead"));
    }
    return failure(error::from_errno("reset device", static_cast<int>(-answer)).of(name()));
  }

  /// What it has of interrupts of an `index`, which is VFIO's: `VFIO_PCI_INTX_IRQ_INDEX`,
  /// `VFIO_PCI_MSI_IRQ_INDEX`, `VFIO_PCI_MSIX_IRQ_INDEX`, `VFIO_PCI_REQ_IRQ_INDEX` (the kernel asks
  /// for the device back), ... Fails: the kernel's errno.
  [[nodiscard]] result<vfio_interrupts> interrupts(std::uint32_t index) const noexcept {
    vfio_irq_info info{};
    info.argsz = sizeof info;
    info.index = index;
    if (auto done = control("read interrupt info", VFIO_DEVICE_GET_IRQ_INFO, &info); !done)
      return failure(done.error());
    return detail::as_interrupts(info);
  }
  /// Signals `eventfd` at each interrupt of vector 0; negative: disables all of the index.
  [[nodiscard]] result<void> signal_interrupts(std::uint32_t index, std::int32_t eventfd) noexcept {
    if (eventfd >= 0)
      return signal_interrupts(index, 0, std::span<std::int32_t const>{&eventfd, 1});
    return control("set interrupts", VFIO_DEVICE_SET_IRQS, detail::interrupt_request{index}.data());
  }
  /// Signals an eventfd of its own for each of the vectors from `first` on; one of -1 silences its
  /// vector; vectors that are not named stay as they are. All or none. Fails: `unsupported` if
  /// there are not so many, `still_in_use` if there are and the kernel adds none while some are
  /// signalled, the kernel's errno, not enough memory.
  [[nodiscard]] result<void> signal_interrupts(std::uint32_t index, std::uint32_t first,
                                               std::span<std::int32_t const> eventfds) noexcept {
    if (eventfds.empty()) return {};
    detail::interrupt_request request{index, first, eventfds};
    if (request.data() == nullptr)
      return failure(error::out_of_memory("set interrupts").of(name()));
    auto done = control("set interrupts", VFIO_DEVICE_SET_IRQS, request.data());
    if (!done && done.error().is_errno(EINVAL)) [[unlikely]] {
      if (const auto there = interrupts(index))
        return failure(detail::why_not_signalled(done.error(), *there, first, eventfds.size()));
    }
    return done;
  }

  /// Fails: `stale_handle` if it is closed already; `still_in_use` while a BAR is mapped, and it
  /// stays open.
  [[nodiscard]] result<void> close() noexcept {
    if (state_ == nullptr || state_->descriptor.number() < 0)
      return failure(error{"close device", errc::stale_handle});
    if (const unsigned mapped = state_->views.count(); mapped != 0) {
      return failure(error{"close device", errc::still_in_use}.of(name()).advise(
          "{} of its BARs {is|are} still mapped", mapped));
    }
    state_->descriptor = {};
    return {};
  }
  /// As the concept `tells_when_unused`: whether BARs of it are mapped.
  [[nodiscard]] bool tell_when_unused(unused_notice& who) noexcept {
    return state_ != nullptr && state_->tell_when_unused(who);
  }
  /// For the backend that opened it. Null if moved from.
  [[nodiscard]] detail::vfio_device_state<Kernel>* state() const noexcept { return state_.get(); }

 private:
  explicit basic_vfio_device(std::unique_ptr<detail::vfio_device_state<Kernel>> state) noexcept
      : state_{std::move(state)} {}

  result<void> control(const char* operation, unsigned long request,
                       void* argument) const noexcept {
    const auto answer = Kernel::call(SYS_ioctl, descriptor(), request, argument);
    if (answer < 0)
      return failure(error::from_errno(operation, static_cast<int>(-answer)).of(name()));
    return {};
  }
  static constexpr const char* config_access = "access configuration space";
  result<void> transfer(const char* operation, std::uint32_t index, long call, void* value,
                        std::uint64_t bytes, std::uint64_t offset) const noexcept {
    auto at = region(index);
    if (!at) return failure(at.error());
    if (offset > at->size || at->size - offset < bytes) {
      return failure(error{operation, errc::past_the_end}.of(name()).advise(
          "region {} ends before that", index));
    }
    const auto answer = Kernel::call(call, descriptor(), value, bytes, at->offset + offset);
    if (answer < 0)
      return failure(error::from_errno(operation, static_cast<int>(-answer)).of(name()));
    if (static_cast<std::uint64_t>(answer) != bytes)
      return failure(error::from_errno(operation, EIO).of(name()));
    return {};
  }
  [[nodiscard]] result<detail::vfio_region_layout> layout(std::uint32_t index) const noexcept {
    vfio_region_info question{};
    question.index = index;
    const auto said = detail::ask_with_room(
        "read region info", question, detail::malformed_region(), [this](void* info) noexcept {
          return Kernel::call(SYS_ioctl, descriptor(), VFIO_DEVICE_GET_REGION_INFO, info);
        });
    if (!said) return failure(said.error().of(name()));
    auto read = detail::parse_region(*said);
    if (!read) return failure(read.error().of(name()));
    return read;
  }
  [[nodiscard]] error not_mappable(std::uint32_t index) const noexcept {
    return error{"map BAR", errc::unsupported}.of(name()).advise("region {} cannot be mapped",
                                                                 index);
  }
  [[nodiscard]] result<basic_bar_view<Kernel>> map_area(vfio_region const& of,
                                                        vfio_area const& one) const noexcept {
    const auto at = Kernel::mmap(one.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor(),
                                 of.offset + one.offset);
    if (at < 0) return failure(error::from_errno("map BAR", static_cast<int>(-at)).of(name()));
    return basic_bar_view<Kernel>{*state_, one.offset, kernel_area<Kernel>{at, one.size}};
  }

  std::unique_ptr<detail::vfio_device_state<Kernel>> state_;
};

/// A device, on Linux itself.
using vfio_device = basic_vfio_device<>;

}  // namespace tether
