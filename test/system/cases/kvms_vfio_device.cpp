// SPDX-License-Identifier: BSL-1.0
// The machine's own KVM, emulated like everything in it, and its VFIO device: what it answers when
// it is told of groups.
// tier: 1 2
// machine: -device edu
// modules: kvm
#include <system/in_machine.hpp>

#include <support/process_facts.hpp>

#include <cerrno>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

namespace system_kvms_vfio_device {

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

/// This process's descriptor of a node, or -1.
int descriptor_of(std::string_view node) {
  for (auto const& [number, path] : tether_test::descriptors()) {
    if (path == node) return number;
  }
  return -1;
}

/// Attaches over `Backend` with KVM told. At each call that may pin, and as long as anything is
/// mapped, KVM knows the file already.
template <class Backend, class Attach>
void kvm_is_told(Backend backend, std::string_view node, Attach attach) {
  const virtual_machine guest_machine;
  const auto knows = [&] {
    return guest_machine.tell(KVM_DEV_VFIO_GROUP_ADD, descriptor_of(node)) == EEXIST;
  };
  auto ram = must(ram_block::allocate("ram", 256 * KiB));
  address_space guest;
  discard_gate<> gate;
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  journal book;
  std::string early;
  book.before_each([&](journal_entry const& entry) {
    const bool before_it_is_told =
        entry.what == backend_call::acquire || entry.what == backend_call::open;
    const bool after_it_forgot = entry.what == backend_call::close;
    if (!before_it_is_told && !after_it_forgot && !knows()) early += sentence(entry) + ' ';
  });
  container<recording<Backend>, kvm_device> dma{
      guest, gate, recording<Backend>{book, std::move(backend)},
      must(kvm_device::from_descriptor(guest_machine.device))};
  for (unsigned round = 0; round < 2; ++round) {
    auto endpoint = must(attach(dma));
    CHECK(knows());
    CHECK(std::ranges::count(frames_behind(ram), std::uint64_t{0}) == 0);  // pinned
    must(endpoint.detach());
    CHECK(early == "");
    CHECK(descriptor_of(node) < 0);
    // nobody keeps it busy
    const int again = ::open(std::string{node}.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(again >= 0);
    CHECK(guest_machine.tell(KVM_DEV_VFIO_GROUP_DEL, again) == ENOENT);
    ::close(again);
  }
  // An attach that fails on the way is forgotten too.
  book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  CHECK(!attach(dma));
  const int again = ::open(std::string{node}.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(again >= 0);
  CHECK(guest_machine.tell(KVM_DEV_VFIO_GROUP_DEL, again) == ENOENT);
  ::close(again);
  CHECK(gate.counts() == gate_counts{});
}

}  // namespace

TEST_CASE("KVM is told of a group before it joins, and has forgotten it when it is detached") {
  const auto group = group_of(edu_address());
  kvm_is_told(vfio_type1{}, group.path(), [&](auto& dma) { return dma.attach(group); });
}

TEST_CASE("KVM is told of a device before it is bound, and has forgotten it when it is detached") {
  if (::access("/dev/iommu", F_OK) != 0) return;  // tier 1 has none
  const auto device = must(vfio_cdev::of(edu_address()));
  kvm_is_told(must(iommufd::open(must(iommufd_context::open()))), device.path(),
              [&](auto& dma) { return dma.attach(device); });
}

TEST_CASE(
    "KVM's VFIO device takes a group once and gives it back once, and keeps the group from being "
    "opened as long as it has it") {
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

}  // namespace system_kvms_vfio_device
