// SPDX-License-Identifier: BSL-1.0
// KVM's VFIO pseudo-device: it is told which groups and devices a virtual machine uses, so that KVM
// knows whether their DMA is coherent, and mediated drivers find the machine. A container adds them
// before the first pin and before a device is bound, and removes them after the last unmap
// (laws 4 and 6).
#pragma once

#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>
#include <tether/core/slots.hpp>
#include <tether/fwd.hpp>

#include <linux/kvm.h>

#include <cerrno>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <sys/syscall.h>
#include <type_traits>

namespace tether {

/// KVM is not told: the default, and the right choice for user-space drivers. Costs nothing.
struct no_kvm {
  using slot = kvm_slot;
  static constexpr bool tells = false;

  /// For a program that asks `kvm_device_for<Backend>`: a machine that is not told of anything.
  [[nodiscard]] static result<no_kvm> create(int) noexcept { return no_kvm{}; }
};

/// A policy with state: move it into the container, which owns it.
///
///     auto kvm = kvm_device::create(vm);
///     container<vfio_type1, kvm_device> dma{guest, gate, vfio_type1{}, std::move(*kvm)};
///
/// Source: linux/kvm.h, KVM_DEV_TYPE_VFIO.
template <class Kernel>
class basic_kvm_device {
 public:
  using slot = kvm_slot;
  static constexpr bool tells = true;

  /// Creates the pseudo-device of a virtual machine. Requires: a machine has only one.
  /// Fails: `bad_descriptor` if `vm` is not a machine's; `unsupported` where this KVM has no VFIO
  /// device; the kernel's errno (EBUSY: the machine has one, use `from_descriptor`).
  [[nodiscard]] static result<basic_kvm_device> create(int vm) noexcept {
    kvm_create_device request{};
    request.type = KVM_DEV_TYPE_VFIO;
    const auto answer = Kernel::call(SYS_ioctl, vm, KVM_CREATE_DEVICE, &request);
    if (answer >= 0) return basic_kvm_device{static_cast<typename Kernel::answer>(request.fd)};
    if (answer == -EBADF || answer == -ENOTTY || answer == -EINVAL) {
      return failure(error{"create KVM device", errc::bad_descriptor}.advise(
          "give it what KVM_CREATE_VM answered, not /dev/kvm itself"));
    }
    if (answer == -ENODEV) {
      return failure(error{"create KVM device", errc::unsupported}.advise(
          "this kernel's KVM was built without its VFIO device"));
    }
    const auto why = error::from_errno("create KVM device", static_cast<int>(-answer));
    // Source: kvm_vfio_create, measured; EEXIST is what other devices of KVM answer.
    const bool has_one = answer == -EBUSY || answer == -EEXIST;
    return failure(has_one ? why.advise("the machine has one already: use from_descriptor") : why);
  }
  /// Uses one that a management layer, or this program itself, has created. The descriptor stays
  /// the caller's. Fails: the kernel's errno.
  [[nodiscard]] static result<basic_kvm_device> from_descriptor(int device) noexcept {
    const auto answer = Kernel::duplicate(device);
    if (answer < 0) return failure(error::from_errno("use KVM device", static_cast<int>(-answer)));
    return basic_kvm_device{answer};
  }

  /// Adds a group or device, by its descriptor. Fails: `already_there`, the kernel's errno.
  [[nodiscard]] result<void> add(int file, std::string_view name) noexcept {
    const auto answer = set(KVM_DEV_VFIO_GROUP_ADD, file);
    if (answer >= 0) return {};
    if (answer == -EEXIST) return failure(error{"tell KVM", errc::already_there}.of(name));
    return failure(error::from_errno("tell KVM", static_cast<int>(-answer)).of(name));
  }
  /// Removes it; until then KVM keeps the group busy, even when every descriptor of it is closed
  /// (measured).
  /// Fails: the kernel's errno; ENOENT if KVM was never told.
  [[nodiscard]] result<void> remove(int file, std::string_view name) noexcept {
    const auto answer = set(KVM_DEV_VFIO_GROUP_DEL, file);
    if (answer >= 0) return {};
    return failure(error::from_errno("tell KVM to forget", static_cast<int>(-answer)).of(name));
  }
  /// For what tether does not wrap. This object still owns it.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_.number(); }

 private:
  explicit basic_kvm_device(typename Kernel::answer opened) noexcept : descriptor_{opened} {}

  /// Groups and device files use the same request numbers: KVM_DEV_VFIO_FILE is the later name of
  /// KVM_DEV_VFIO_GROUP.
  typename Kernel::answer set(std::uint64_t what, std::int32_t file) noexcept {
    kvm_device_attr request{};
    request.group = KVM_DEV_VFIO_GROUP;
    request.attr = what;
    request.addr = reinterpret_cast<std::uintptr_t>(&file);
    return Kernel::call(SYS_ioctl, descriptor_.number(), KVM_SET_DEVICE_ATTR, &request);
  }

  kernel_descriptor<Kernel> descriptor_;
};

/// The policy, on Linux.
using kvm_device = basic_kvm_device<>;

/// A KVM policy: says at compile time whether KVM is told, and how.
template <class K>
concept kvm_policy =
    policy<K> && std::is_same_v<typename K::slot, kvm_slot> &&
    (!K::tells || (std::movable<K> && requires(K& kvm, int file, std::string_view name) {
      { kvm.add(file, name) } noexcept -> std::same_as<result<void>>;
      { kvm.remove(file, name) } noexcept -> std::same_as<result<void>>;
    }));

}  // namespace tether
