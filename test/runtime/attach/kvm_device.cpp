// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/kvm_device.hpp>

#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <set>
#include <string>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace runtime_attach_kvm_device {

using namespace tether;
using tether_test::must;

namespace {

constexpr int machine = 1000;  // "what KVM_CREATE_VM answered"
constexpr int dev_kvm = 1001;

/// KVM's VFIO device as the kernel has it: one a machine, and each file once.
struct fake_kvm_kernel : linux_kernel {
  static inline std::set<std::int32_t> told;
  static inline bool has_vfio = true;
  static inline bool taken = false;
  static inline int device = -1;

  static void start_anew() {
    told.clear();
    has_vfio = true;
    taken = false;
  }
  static answer call(long number, int descriptor, unsigned long request,
                     kvm_create_device* wanted) noexcept {
    if (number != SYS_ioctl || request != KVM_CREATE_DEVICE) return -ENOTTY;
    if (descriptor == dev_kvm) return -EINVAL;
    if (descriptor != machine) return descriptor < 0 ? -EBADF : -ENOTTY;
    if (wanted->type != KVM_DEV_TYPE_VFIO || !has_vfio) return -ENODEV;
    if (taken) return -EBUSY;
    taken = true;
    device = ::eventfd(0, EFD_CLOEXEC);  // a real one, so that a leak is seen
    wanted->fd = static_cast<std::uint32_t>(device);
    return 0;
  }
  static answer call(long number, int descriptor, unsigned long request,
                     kvm_device_attr* wanted) noexcept {
    if (number != SYS_ioctl || request != KVM_SET_DEVICE_ATTR ||
        wanted->group != KVM_DEV_VFIO_GROUP)
      return -ENOTTY;
    if (::fcntl(descriptor, F_GETFD) < 0) return -EBADF;
    const std::int32_t file =
        *reinterpret_cast<std::int32_t const*>(static_cast<std::uintptr_t>(wanted->addr));
    if (wanted->attr == KVM_DEV_VFIO_GROUP_ADD) return told.insert(file).second ? 0 : -EEXIST;
    if (wanted->attr == KVM_DEV_VFIO_GROUP_DEL) return told.erase(file) == 1 ? 0 : -ENOENT;
    return -ENXIO;
  }
};
using device = basic_kvm_device<fake_kvm_kernel>;
static_assert(kvm_policy<device> && kvm_policy<kvm_device> && kvm_policy<no_kvm>);
static_assert(!no_kvm::tells && kvm_device::tells);

struct fresh {
  fresh() { fake_kvm_kernel::start_anew(); }
};

}  // namespace

TEST_CASE_FIXTURE(fresh, "KVM is told of each file once, and forgets it once") {
  auto kvm = must(device::create(machine));
  must(kvm.add(7, "/dev/vfio/7"));
  CHECK(fake_kvm_kernel::told == std::set<std::int32_t>{7});
  const auto twice = kvm.add(7, "/dev/vfio/7");
  REQUIRE_FALSE(twice);
  CHECK(twice.error().is(errc::already_there));
  CHECK(twice.error().subject() == "/dev/vfio/7");
  must(kvm.add(8, "/dev/vfio/8"));
  must(kvm.remove(7, "/dev/vfio/7"));
  CHECK(fake_kvm_kernel::told == std::set<std::int32_t>{8});
  const auto never = kvm.remove(7, "/dev/vfio/7");
  REQUIRE_FALSE(never);
  CHECK(never.error().is_errno(ENOENT));
}

TEST_CASE_FIXTURE(
    fresh,
    "the descriptor of the pseudo-device is closed with it, and only once when it is moved") {
  const auto before = tether_test::descriptors().size();
  {
    auto kvm = must(device::create(machine));
    CHECK(tether_test::descriptors().size() == before + 1);
    const device moved = std::move(kvm);
    CHECK(moved.descriptor() == fake_kvm_kernel::device);
  }
  CHECK(tether_test::descriptors().size() == before);
}

TEST_CASE_FIXTURE(
    fresh,
    "a pseudo-device that somebody else made is used through a duplicate, and stays theirs") {
  const auto theirs = must(device::create(machine));
  {
    auto ours = must(device::from_descriptor(theirs.descriptor()));
    CHECK(ours.descriptor() != theirs.descriptor());
    must(ours.add(7, "group"));
  }
  CHECK(::fcntl(theirs.descriptor(), F_GETFD) >= 0);
  CHECK(device::from_descriptor(-1).error().is_errno(EBADF));
}

TEST_CASE_FIXTURE(fresh,
                  "what is no virtual machine, has a device already, or a KVM without VFIO is told "
                  "apart, with advice") {
  CHECK(device::create(-1).error().is(errc::bad_descriptor));
  CHECK(device::create(0).error().is(errc::bad_descriptor));
  CHECK(device::create(dev_kvm).error().is(errc::bad_descriptor));
  fake_kvm_kernel::has_vfio = false;
  CHECK(device::create(machine).error().is(errc::unsupported));
  fake_kvm_kernel::has_vfio = true;
  const auto first = must(device::create(machine));
  const auto second = device::create(machine);
  REQUIRE_FALSE(second);
  CHECK(second.error().is_errno(EBUSY));
  CHECK(second.error().sentence().find("from_descriptor") != std::string::npos);
}

TEST_CASE(
    "the kernel itself refuses so: a second pseudo-device, and /dev/kvm instead of a machine") {
  const kernel_descriptor<linux_kernel> kvm{
      linux_kernel::call(SYS_openat, AT_FDCWD, "/dev/kvm", O_RDWR | O_CLOEXEC, 0)};
  if (kvm.number() < 0) return tether_test::skip_because("there is no /dev/kvm");
  CHECK(kvm_device::create(kvm.number()).error().is(errc::bad_descriptor));
  const kernel_descriptor<linux_kernel> vm{
      linux_kernel::call(SYS_ioctl, kvm.number(), KVM_CREATE_VM, 0UL)};
  if (vm.number() < 0) return tether_test::skip_because("no machine can be made here");
  const auto first = kvm_device::create(vm.number());
  if (!first) return tether_test::skip_because(first.error().sentence());
  const auto second = kvm_device::create(vm.number());
  REQUIRE_FALSE(second);
  CHECK(second.error().is_errno(EBUSY));
  CHECK(second.error().sentence().find("from_descriptor") != std::string::npos);
}

}  // namespace runtime_attach_kvm_device
