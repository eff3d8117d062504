// SPDX-License-Identifier: BSL-1.0
// KVM hears of a group before anything of it can pin and before a device of it is opened, and
// forgets it after the last unmap, whichever way an operation ends (laws 4 and 6).
#include <support/fake_vfio_kernel.hpp>
#include <support/must.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/testing/recording.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <type_traits>
#include <utility>

namespace scenario_kvm_is_told {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::must;

namespace {

/// A KVM that writes down what it hears, among what the backend is asked.
struct listening_kvm {
  using slot = kvm_slot;
  static constexpr bool tells = true;
  std::string* log;
  int* refuse_to_hear;
  int* refuse_to_forget;

  result<void> add(int file, std::string_view) noexcept {
    *log += file >= 0 ? "tell " : "tell-nothing ";
    if (*refuse_to_hear != 0) return failure(error::from_errno("tell KVM", *refuse_to_hear));
    return {};
  }
  result<void> remove(int file, std::string_view) noexcept {
    *log += file >= 0 ? "forget " : "forget-nothing ";
    if (*refuse_to_forget != 0)
      return failure(error::from_errno("tell KVM to forget", *refuse_to_forget));
    return {};
  }
};

using type1 = basic_vfio_type1<fake_vfio_kernel>;
using container_type = container<recording<type1>, listening_kvm>;
static_assert(!valid_configuration<software_iommu, kvm_device>);
static_assert(valid_configuration<vfio_type1, kvm_device> &&
              valid_configuration<vfio_type1, kvm_device, inhibit_per_device>);

static_assert(std::is_same_v<kvm_device_for<vfio_type1>, kvm_device> &&
              std::is_same_v<kvm_device_for<recording<type1>>, kvm_device>);

struct machine {
  machine() {
    fake_vfio_kernel::start_anew().groups["/dev/vfio/1"].is = {};
    fake_vfio_kernel::machine().groups["/dev/vfio/2"].is = {.devices = {"0000:02:00.0"}};
    book.before_each(
        [this](journal_entry const& entry) { log.append(name_of(entry.what)).append(" "); });
    static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  }
  [[nodiscard]] std::string told() { return std::exchange(log, {}); }
  [[nodiscard]] bool nothing_is_open() const { return fake_vfio_kernel::machine().files.empty(); }

  std::string log;
  int refuse_to_hear = 0;
  int refuse_to_forget = 0;
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  journal book;
  container_type dma{guest, gate, recording<type1>{book, type1{}},
                     listening_kvm{&log, &refuse_to_hear, &refuse_to_forget}};
};

const vfio_group edu{"/dev/vfio/1"};
const vfio_group nic{"/dev/vfio/2"};

}  // namespace

TEST_CASE_FIXTURE(
    machine,
    "KVM hears of a group before its join, and forgets it after the last unmap and the leave") {
  auto first = must(dma.attach(edu));
  CHECK(told() == "acquire tell join map ");
  auto second = must(dma.attach(nic));
  CHECK(told() == "acquire tell join ");
  auto device = must(second.open("0000:02:00.0"));
  CHECK(told() == "open ");
  must(device.close());
  CHECK(told() == "close ");
  must(second.detach());
  CHECK(told() == "leave forget ");
  must(first.detach());
  CHECK(told() == "quiesce unmap leave forget ");
  CHECK(nothing_is_open());
  CHECK(gate.counts() == gate_counts{});
}

TEST_CASE_FIXTURE(
    machine,
    "an attach that fails lets KVM forget what it was told, with the group still open for that") {
  book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  CHECK(dma.attach(edu).error().is_errno(ENOMEM));
  CHECK(told() == "acquire tell join map leave forget ");
  CHECK(nothing_is_open());
  book.fail_at(backend_call::join, 1, error::from_errno("join", EIO));
  CHECK(dma.attach(edu).error().is_errno(EIO));
  CHECK(told() == "acquire tell join forget ");
  CHECK(nothing_is_open());
  refuse_to_hear = ENOSPC;
  CHECK(dma.attach(edu).error().is_errno(ENOSPC));
  CHECK(told() == "acquire tell ");
  CHECK(nothing_is_open());
  CHECK(gate.counts() == gate_counts{});
}

TEST_CASE_FIXTURE(
    machine,
    "a KVM that will not forget keeps the group attached, with everything mapped and held") {
  auto group = must(dma.attach(edu));
  static_cast<void>(told());
  refuse_to_forget = EIO;
  const auto usage = dma.usage();
  CHECK(group.detach().error().is_errno(EIO));
  CHECK(told() == "quiesce unmap leave forget join map ");
  CHECK(dma.usage() == usage);
  CHECK(gate.counts().any_holds == 1);
  CHECK_FALSE(dma.diverged());
  refuse_to_forget = 0;
  must(group.detach());
  CHECK(nothing_is_open());
}

TEST_CASE_FIXTURE(
    machine,
    "KVM that will not forget keeps a diverged container, and its hold, from being abandoned") {
  auto group = must(dma.attach(edu));
  book.fail_at(backend_call::leave, 1, error::from_errno("leave", EIO));
  book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  CHECK(group.detach().error().rollback_failed());
  static_cast<void>(told());
  refuse_to_forget = EBUSY;
  CHECK(dma.abandon().error().is_errno(EBUSY));
  CHECK(told() == "forget ");
  CHECK(gate.counts().any_holds == 1);
  refuse_to_forget = ENOENT;  // it never knew: nothing stands in the way
  must(dma.abandon());
  CHECK(told() == "forget abandon ");
  CHECK(nothing_is_open());
  CHECK(gate.counts() == gate_counts{});
}

TEST_CASE_FIXTURE(machine,
                  "an abandon that got half way is finished by the next, which asks KVM nothing "
                  "about what has gone") {
  auto first = must(dma.attach(edu));
  static_cast<void>(must(dma.attach(nic)));
  auto device = must(first.open("0000:01:00.0"));
  const auto bar = static_cast<std::uint64_t>(
      fake_vfio_kernel::mmap(4096, PROT_READ, MAP_SHARED, device->descriptor(), 0));
  static_cast<void>(told());
  const auto refused = dma.abandon();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::still_in_use));
  CHECK(refused.error().subject() == "/dev/vfio/1");
  CHECK(told() == "close unmap forget forget abandon ");
  CHECK(gate.counts().any_holds == 2);
  CHECK(fake_vfio_kernel::munmap(bar, 4096) == 0);
  refuse_to_forget = ENOENT;
  must(dma.abandon());
  CHECK(told() == "forget abandon ");
  CHECK(nothing_is_open());
  CHECK(gate.counts() == gate_counts{});
}

TEST_CASE_FIXTURE(
    machine,
    "a group whose join got stuck keeps its hold until the kernel has taken it out, although KVM "
    "has forgotten it and its descriptor would be closed") {
  auto& kernel = fake_vfio_kernel::machine();
  static_cast<void>(must(dma.attach(nic)));
  // As KVM has it that was told on another descriptor of its device: its file stays open.
  const kernel_descriptor<fake_vfio_kernel> told_before{
      fake_vfio_kernel::call(SYS_openat, AT_FDCWD, "/dev/vfio/1", O_RDWR, 0)};
  static_cast<void>(told());
  kernel.refusals = {{VFIO_IOMMU_GET_INFO, EIO}, {VFIO_GROUP_UNSET_CONTAINER, EBUSY}};
  const auto stuck = dma.attach(vfio_group::from_descriptor(told_before.number(), "/dev/vfio/1"));
  REQUIRE_FALSE(stuck);
  CHECK(stuck.error().rollback_failed());
  CHECK(dma.diverged());
  CHECK(told() == "acquire tell join ");
  kernel.refusals.erase(VFIO_IOMMU_GET_INFO);
  const auto refused = dma.abandon();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().subject() == "/dev/vfio/1");
  CHECK(kernel.groups.at("/dev/vfio/1").in != nullptr);
  CHECK(gate.counts().any_holds == 2);
  kernel.refusals.clear();
  must(dma.abandon());
  CHECK(kernel.groups.at("/dev/vfio/1").in == nullptr);
  CHECK(kernel.groups.at("/dev/vfio/2").in == nullptr);
  CHECK(gate.counts() == gate_counts{});
}

}  // namespace scenario_kvm_is_told
