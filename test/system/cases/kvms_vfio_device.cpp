// SPDX-License-Identifier: BSL-1.0
// The machine's own KVM, emulated like everything in it, and its VFIO device: what it answers when it is told of groups.
// tier: 1 2
// machine: -device edu
// modules: kvm
#include <system/in_machine.hpp>

#include <cerrno>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

using namespace in_machine;

namespace {

/// A virtual machine with KVM's VFIO device.
struct virtual_machine {
  virtual_machine() {
    REQUIRE(kvm >= 0);
    REQUIRE(machine >= 0);
    kvm_create_device wanted{KVM_DEV_TYPE_VFIO, 0, 0};
    REQUIRE(::ioctl(machine, KVM_CREATE_DEVICE, &wanted) == 0);
    device = static_cast<int>(wanted.fd);
  }
  virtual_machine(virtual_machine const&) = delete;
  virtual_machine& operator=(virtual_machine const&) = delete;
  ~virtual_machine() {
    for (const int one : {device, machine, kvm}) ::close(one);
  }
  /// 0, or what the kernel says.
  [[nodiscard]] int tell(std::uint64_t what, std::int32_t group) const {
    kvm_device_attr told{0, KVM_DEV_VFIO_GROUP, what, reinterpret_cast<std::uintptr_t>(&group)};
    return ::ioctl(device, KVM_SET_DEVICE_ATTR, &told) == 0 ? 0 : errno;
  }

  int kvm = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
  int machine = ::ioctl(kvm, KVM_CREATE_VM, 0);
  int device = -1;
};

}  // namespace

TEST_CASE("KVM's VFIO device takes a group once and gives it back once, and keeps the group from being opened as long as it has it") {
  const auto group = group_of(edu_address());
  const virtual_machine guest;
  int file = ::open(group.path(), O_RDWR | O_CLOEXEC);
  REQUIRE(file >= 0);
  CHECK(guest.tell(KVM_DEV_VFIO_GROUP_ADD, file) == 0);
  CHECK(guest.tell(KVM_DEV_VFIO_GROUP_ADD, file) == EEXIST);
  CHECK(guest.tell(KVM_DEV_VFIO_GROUP_DEL, file) == 0);
  CHECK(guest.tell(KVM_DEV_VFIO_GROUP_DEL, file) == ENOENT);
  CHECK(guest.tell(KVM_DEV_VFIO_GROUP_ADD, file) == 0);
  ::close(file);
  CHECK(::open(group.path(), O_RDWR | O_CLOEXEC) < 0);
  CHECK(errno == EBUSY);
  vm<> v;
  const auto refused = v.dma.attach(group);
  REQUIRE(!refused);
  CHECK(refused.error().is_errno(EBUSY));
  CHECK(refused.error().sentence().find("KVM") != std::string::npos);
  CHECK(v.gate.counts() == gate_counts{});
}
