// SPDX-License-Identifier: BSL-1.0
// An open /dev/iommu: a value that containers share. The process that opens it decides whose
// locked-memory limit is charged; a management layer may pass it in. Containers on one context can
// share pinned pages; on two they cannot.
#pragma once

#include <tether/backend/iommufd/shared_mappings.hpp>
#include <tether/backend/iommufd/uapi.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/detail/locked_memory.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>
#include <tether/fwd.hpp>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <memory>
#include <system_error>
#include <utility>

namespace tether {

/// Whose locked-memory limit (RLIMIT_MEMLOCK) pinned pages are charged to.
enum class iommufd_accounting : std::uint8_t {
  as_it_is,  ///< the kernel's default, per user, or what the opener of the context has set
  per_user,  ///< of all processes of this user together
  /// of this process, as type1 does; needs CAP_SYS_RESOURCE, and a context without objects
  per_process,
};

namespace detail {

/// One ioctl. Returns what the kernel returns: a value, or the negative errno.
template <class Kernel, class Arguments>
[[nodiscard]] typename Kernel::answer call_iommufd(int descriptor,
                                                   iommufd_uapi::request<Arguments> const& what,
                                                   Arguments& with) noexcept {
  return Kernel::call(SYS_ioctl, descriptor, what.number, static_cast<void*>(&with));
}

template <class Kernel>
struct iommufd_context_state {
  kernel_descriptor<Kernel> descriptor{};
  shared_mappings shared{};
  /// Set once the kernel has answered that it has no ioctl to map a file (ENOTTY).
  std::atomic<bool> maps_no_files{false};
};

}  // namespace detail

/// Copies refer to the same context (reference count), which is closed with the last of them and of
/// the containers on it. Thread-safe.
template <class Kernel>
class basic_iommufd_context {
 public:
  /// Opens /dev/iommu. Fails: ENOENT where the kernel has no iommufd, and tells by `sysfs` if no
  /// IOMMU is on; EACCES, EPERM where the accounting may not be changed.
  [[nodiscard]] static result<basic_iommufd_context> open(
      iommufd_accounting whose = iommufd_accounting::as_it_is,
      vfio_sysfs const& sysfs = vfio_sysfs{}) noexcept {
    return make(Kernel::call(SYS_openat, AT_FDCWD, node, O_RDWR | O_CLOEXEC, 0), whose, sysfs);
  }
  /// From an open descriptor, which stays the caller's: it is duplicated. Fails: EBADF; as `open`;
  /// EBUSY if the accounting cannot be changed any more.
  [[nodiscard]] static result<basic_iommufd_context> from_descriptor(
      int descriptor, iommufd_accounting whose = iommufd_accounting::as_it_is) noexcept {
    return make(Kernel::duplicate(descriptor), whose, vfio_sysfs{});
  }

  /// For interfaces that tether does not wrap. It stays the context's.
  [[nodiscard]] int descriptor() const noexcept { return state_->descriptor.number(); }
  /// Whether memory may be mapped by its file. Known only once it has been tried: until then true.
  [[nodiscard]] bool maps_files() const noexcept {
    return !state_->maps_no_files.load(std::memory_order_relaxed);
  }
  /// Records that the kernel has no ioctl to map a file: for the containers on it.
  void found_that_it_maps_no_files() const noexcept {
    state_->maps_no_files.store(true, std::memory_order_relaxed);
  }
  /// Whose locked memory its pins count as. Asks the kernel.
  [[nodiscard]] detail::locked_by charges() const noexcept {
    detail::iommufd_uapi::option option{};
    option.which = detail::iommufd_uapi::locked_memory_by_process;
    option.operation = detail::iommufd_uapi::operation_get;
    const bool asked =
        detail::call_iommufd<Kernel>(descriptor(), detail::iommufd_uapi::set_option, option) >= 0;
    return asked && option.value == 1 ? detail::locked_by::process : detail::locked_by::user;
  }
  /// What its containers have mapped.
  [[nodiscard]] detail::shared_mappings& shared() const noexcept { return state_->shared; }

 private:
  using state = detail::iommufd_context_state<Kernel>;
  static constexpr const char* node = "/dev/iommu";

  explicit basic_iommufd_context(std::shared_ptr<state> shared) noexcept
      : state_{std::move(shared)} {}

  static result<basic_iommufd_context> make(typename Kernel::answer opened,
                                            iommufd_accounting whose,
                                            vfio_sysfs const& sysfs) noexcept {
    TETHER_TRY {
      if (opened < 0) return failure(why_not_open(static_cast<int>(-opened), sysfs));
      kernel_descriptor<Kernel> descriptor{opened};
      if (whose != iommufd_accounting::as_it_is) {
        detail::iommufd_uapi::option option{};
        option.which = detail::iommufd_uapi::locked_memory_by_process;
        option.operation = detail::iommufd_uapi::operation_set;
        option.value = whose == iommufd_accounting::per_process ? 1 : 0;
        const auto answer = detail::call_iommufd<Kernel>(descriptor.number(),
                                                         detail::iommufd_uapi::set_option, option);
        if (answer < 0) return failure(why_not_accounted(static_cast<int>(-answer)));
      }
      auto shared = std::make_shared<state>();
      shared->descriptor = std::move(descriptor);
      return basic_iommufd_context{std::move(shared)};
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("open iommufd").of(node));
    }
  }
  static error why_not_open(int number, vfio_sysfs const& sysfs) {
    const auto why = error::from_errno("open iommufd", number).of(node);
    if (number == ENOENT || number == ENODEV || number == ENXIO) {
      if (!sysfs.has_iommu()) return why.advise(detail::turn_on_iommu);
      return why.advise("load the iommufd module (CONFIG_IOMMUFD, Linux 6.6), or use vfio_type1");
    }
    if (number == EACCES || number == EPERM)
      return why.advise("give this user the right to open the node");
    return why;
  }
  static error why_not_accounted(int number) noexcept {
    const auto why = error::from_errno("set accounting", number).of(node);
    if (number == EPERM)
      return why.advise("whose locked memory counts may be changed with CAP_SYS_RESOURCE only");
    if (number == EBUSY) return why.advise("the context has objects in it already: set it first");
    if (number == ENOTTY)
      return error{"set accounting", errc::bad_descriptor}.of(node).advise("it is not an iommufd");
    return why;
  }

  std::shared_ptr<state> state_;
};

/// A context, on Linux itself.
using iommufd_context = basic_iommufd_context<>;

}  // namespace tether
