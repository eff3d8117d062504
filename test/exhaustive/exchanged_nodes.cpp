// SPDX-License-Identifier: BSL-1.0
// A device node is not the device that sysfs has under its name: nodes are left over or mapped anew
// in containers, and may be exchanged at any time. What is opened counts, whatever it was called:
// whoever pins is held down for, and consent is taken from nobody who pins.
#include <support/fake_iommufd_kernel.hpp>
#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/may_discard.hpp>
#include <support/must.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/testing/recording.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

namespace exhaustive_exchanged_nodes {

using namespace tether;
using namespace tether_test;

namespace {

constexpr const char* real_name = "0000:01:00.0";
constexpr const char* mediated_name = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
constexpr const char* real_path = "/dev/vfio/devices/vfio2";
constexpr const char* mediated_path = "/dev/vfio/devices/vfio4";

/// sysfs: a real device is vfio2, 510:2 in group 12, and a mediated one vfio4, 510:4 in group 30.
/// What the nodes are is the test's choice.
template <class Backend>
struct single_devices {
  single_devices() {
    made.add(real_name, "pci", "12", "vfio-pci");
    made.add_node(real_name, "vfio2", "510:2");
    made.add(mediated_name, "mdev", "30", "vfio_mdev");
    made.add_node(mediated_name, "vfio4", "510:4");
    put(real_path, false);
    put(mediated_path, true);
    dma.emplace(guest, gate, backend());
  }
  /// From now on that path leads to the mediated device, or to the real one.
  void put(const char* path, bool mediated) {
    machine.devices[path].is = {.name = mediated ? mediated_name : real_name,
                                .group = mediated ? "30" : "12",
                                .mediated = mediated,
                                .number = mediated ? 4U : 2U};
  }
  [[nodiscard]] vfio_sysfs sysfs() const { return vfio_sysfs{made.root()}; }
  [[nodiscard]] Backend backend() const {
    auto opened = must(basic_iommufd<fake_iommufd_kernel>::open(
        must(basic_iommufd_context<fake_iommufd_kernel>::open()), sysfs()));
    if constexpr (requires { Backend{std::move(opened)}.watched(); })
      return Backend{std::move(opened)};
    else return opened;
  }
  [[nodiscard]] std::string seen() const {
    const auto counts = dma->membership();
    return machine.seen() + " files " + std::to_string(machine.files.size()) + " holds " +
           std::to_string(gate.counts().any_holds) + " members " + std::to_string(counts.members) +
           "/" + std::to_string(counts.need_no_hold) + (dma->diverged() ? " diverged" : "");
  }
  /// A balloon would get through, although the kernel has pinned.
  [[nodiscard]] bool corrupts() {
    return machine.locked() != 0 && may_discard(gate, discard_kind::uncoordinated);
  }

  fake_iommufd& machine = fake_iommufd_kernel::start_anew();
  fake_sysfs made{};
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  std::optional<container<Backend>> dma;
};

using plain_iommufd = basic_iommufd<fake_iommufd_kernel>;
using world = single_devices<plain_iommufd>;

}  // namespace

TEST_CASE(
    "a node of the mediated device's name that is a real device's cannot agree to discards: by "
    "path, by UUID, or passed in") {
  world w;
  w.put(mediated_path, false);
  const auto before = w.seen();
  for (auto const& named :
       {vfio_cdev{mediated_path, w.sysfs()}, must(vfio_cdev::of(mediated_name, w.sysfs()))}) {
    const auto refused = w.dma->attach(named, agrees_to_discards);
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::consent_refused));
    CHECK(refused.error().subject() == mediated_name);
    CHECK(w.seen() == before);
  }
  CHECK(may_discard(w.gate, discard_kind::uncoordinated));
}

TEST_CASE("without consent such a node is attached by its path as what it is, and held down for") {
  world w;
  w.put(mediated_path, false);
  auto device = must(w.dma->attach(vfio_cdev{mediated_path, w.sysfs()}));
  CHECK(w.machine.locked() == 64 * KiB);
  CHECK(w.dma->backend().pins_now());
  CHECK_FALSE(may_discard(w.gate, discard_kind::uncoordinated));
  // Its neighbours are the real device's.
  CHECK(device->state()->attachment.group == "12");
  must(device.detach());
  CHECK(may_discard(w.gate, discard_kind::uncoordinated));
  CHECK(w.machine.locked() == 0);
}

TEST_CASE(
    "a device that was asked for by its own name is refused where the node leads to another, and "
    "nothing is left of it") {
  world w;
  w.put(mediated_path, false);
  w.put(real_path, true);
  const auto before = w.seen();
  for (auto const& [asked, minor] :
       {std::pair{mediated_name, std::string{"2"}}, std::pair{real_name, std::string{"4"}}}) {
    const auto refused = w.dma->attach(must(vfio_cdev::of(asked, w.sysfs())));
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::no_such_device));
    CHECK(refused.error().subject() == asked);
    CHECK(refused.error().sentence().find("another device, minor number " + minor) !=
          std::string::npos);
    CHECK(w.seen() == before);
  }
}

TEST_CASE(
    "a path that leads to a mediated device agrees to discards, whatever else sysfs has under that "
    "name") {
  world w;
  w.put(real_path, true);
  auto device = must(w.dma->attach(vfio_cdev{real_path, w.sysfs()}, agrees_to_discards));
  CHECK(w.machine.locked() == 0);
  CHECK_FALSE(w.dma->backend().pins_now());
  CHECK(may_discard(w.gate, discard_kind::uncoordinated));
  must(device.detach());
}

TEST_CASE(
    "a node that is exchanged between the look and the open: what was opened is looked at again, "
    "refused and closed") {
  const auto exchanged = [](auto& w, bool by_name) {
    const auto before = w.seen();
    w.machine.before_open = [&w] { w.put(mediated_path, false); };
    const auto named = by_name ? must(vfio_cdev::of(mediated_name, w.sysfs()))
                               : vfio_cdev{mediated_path, w.sysfs()};
    const auto refused = w.dma->attach(named, agrees_to_discards);
    REQUIRE(!refused);
    CHECK(refused.error().is(by_name ? errc::no_such_device : errc::consent_refused));
    CHECK(!refused.error().rollback_failed());
    CHECK_FALSE(w.corrupts());
    w.put(mediated_path, true);
    CHECK(w.seen() == before);
    // It was a mistake, and no more.
    must(must(w.dma->attach(vfio_cdev{mediated_path, w.sysfs()}, agrees_to_discards)).detach());
  };
  for (const bool by_name : {false, true}) {
    world bare;
    exchanged(bare, by_name);
    single_devices<recording<plain_iommufd>> recorded;
    exchanged(recorded, by_name);
  }
}

TEST_CASE(
    "whichever call fails while a node is exchanged, closing included, nothing is left of the "
    "refused device") {
  for (std::uint64_t n = 1;; ++n) {
    world w;
    const auto before = w.seen();
    w.machine.before_open = [&w] { w.put(mediated_path, false); };
    const vfio_cdev named{mediated_path, w.sysfs()};
    faulty_kernel::reset();
    faulty_kernel::count_cleanup(true);
    faulty_kernel::fail_at(n, EIO);
    const auto refused = w.dma->attach(named, agrees_to_discards);
    const bool struck = faulty_kernel::fired() != 0;
    faulty_kernel::reset();
    REQUIRE(!refused);
    CHECK(!refused.error().rollback_failed());
    w.put(mediated_path, true);
    CHECK(w.seen() == before);
    if (struck) continue;
    CHECK(n > 4);  // the look, the open, the second look, the close
    break;
  }
}

namespace {

enum class told { by_path, by_name, by_descriptor };

/// Every way to name a device, every node behind it, each exchange, with and without consent:
/// nobody pins whom nobody is held down for.
template <class Inhibition>
void whatever_the_nodes_are() {
  for (const told how : {told::by_path, told::by_name, told::by_descriptor}) {
    for (unsigned bits = 0; bits < 64; ++bits) {
      const bool asks_for_mediated = (bits & 1U) != 0;
      const consent agrees = (bits & 2U) != 0 ? agrees_to_discards : consent::none;
      const bool is_mediated = (bits & 4U) != 0;
      const bool exchanged = (bits & 8U) != 0;
      const bool mediated_then = (bits & 16U) != 0;
      const bool unknown = (bits & 32U) != 0;
      CAPTURE(static_cast<int>(how));
      CAPTURE(bits);
      single_devices<plain_iommufd> w;
      container<plain_iommufd, Inhibition> dma{w.guest, w.gate, w.backend()};
      const char* const path = asks_for_mediated ? mediated_path : real_path;
      const char* const name = asks_for_mediated ? mediated_name : real_name;
      w.put(path, is_mediated);
      const kernel_descriptor<fake_iommufd_kernel> passed_in{
          fake_iommufd_kernel::call(SYS_openat, AT_FDCWD, path, O_RDWR, 0)};
      const auto named = how == told::by_path ? vfio_cdev{path, w.sysfs()}
                         : how == told::by_name
                             ? must(vfio_cdev::of(name, w.sysfs()))
                             : vfio_cdev::from_descriptor(passed_in.number(), name, w.sysfs());
      if (unknown) std::filesystem::remove_all(w.made.root() / "dev");
      if (exchanged) w.machine.before_open = [&] { w.put(path, mediated_then); };
      const auto before = w.machine.files.size();
      const auto attached = dma.attach(named, agrees);
      w.machine.before_open = nullptr;
      CHECK_FALSE(w.corrupts());
      const bool opened_mediated =
          exchanged && how != told::by_descriptor ? mediated_then : is_mediated;
      if (attached) {
        CHECK(dma.backend().pins_now() ==
              (unknown || !opened_mediated || (how == told::by_descriptor && !asks_for_mediated)));
        if (agrees == agrees_to_discards) CHECK((opened_mediated && !unknown));
        if (how == told::by_name && !unknown) CHECK(opened_mediated == asks_for_mediated);
        if (agrees == consent::none) CHECK_FALSE(may_discard(w.gate, discard_kind::uncoordinated));
      } else {
        CHECK(w.machine.files.size() == before);
        CHECK(w.gate.counts() == gate_counts{});
        CHECK_FALSE(dma.diverged());
        // Only these two are reasons.
        CHECK((agrees == agrees_to_discards ||
               (how == told::by_name && opened_mediated != asks_for_mediated)));
      }
    }
  }
}

}  // namespace

TEST_CASE(
    "however devices are named, whatever the nodes are and whenever they are exchanged: whoever "
    "pins is held down for") {
  whatever_the_nodes_are<inhibit_per_group>();
  whatever_the_nodes_are<inhibit_per_device>();
  whatever_the_nodes_are<inhibit_per_container>();
}

// Groups.

namespace {

using type1 = basic_vfio_type1<fake_vfio_kernel>;

/// sysfs: a real device in group 12, 509:12, and a mediated one in group 30, 509:30.
struct two_groups {
  two_groups() {
    made.add(real_name, "pci", "12", "vfio-pci");
    made.add(mediated_name, "mdev", "30", "vfio_mdev");
    put("/dev/vfio/12", false);
    put("/dev/vfio/30", true);
  }
  void put(const char* path, bool mediated) {
    machine.groups[path].is = {.devices = {mediated ? mediated_name : real_name},
                               .pins = !mediated,
                               .number = mediated ? 30U : 12U};
  }
  [[nodiscard]] vfio_sysfs sysfs() const { return vfio_sysfs{made.root()}; }
  [[nodiscard]] bool pinned() const {
    for (auto const& [path, one] : machine.groups) {
      if (one.in && one.is.pins) return true;
    }
    return false;
  }

  fake_vfio& machine = fake_vfio_kernel::start_anew();
  fake_sysfs made{};
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
};

}  // namespace

TEST_CASE(
    "a group's node that is another group's pins as that one does, and its devices are that "
    "one's") {
  two_groups w;
  w.put("/dev/vfio/30", false);
  container<type1> dma{w.guest, w.gate, type1{w.sysfs()}};
  auto group = must(dma.attach(vfio_group{"/dev/vfio/30"}));
  CHECK(dma.backend().pins_now());
  CHECK(group.open(real_name, agrees_to_discards).error().is(errc::consent_refused));
  CHECK(group.open(mediated_name).error().is(errc::no_such_device));
  CHECK_FALSE(may_discard(w.gate, discard_kind::uncoordinated));
  static_cast<void>(must(group.open(real_name)));
  must(group.detach());
  CHECK(may_discard(w.gate, discard_kind::uncoordinated));
}

TEST_CASE("a mediated group behind a real one's name pins nothing, and its device agrees") {
  two_groups w;
  w.put("/dev/vfio/12", true);
  container<type1> dma{w.guest, w.gate, type1{w.sysfs()}};
  auto group = must(dma.attach(vfio_group{"/dev/vfio/12"}));
  CHECK_FALSE(dma.backend().pins_now());
  static_cast<void>(must(group.open(mediated_name, agrees_to_discards)));
  CHECK(may_discard(w.gate, discard_kind::uncoordinated));
}

TEST_CASE(
    "a group that was asked for by one of its devices is refused where the node leads to another, "
    "and nothing is left of it") {
  two_groups w;
  w.put("/dev/vfio/30", false);
  container<type1> dma{w.guest, w.gate, type1{w.sysfs()}};
  const auto refused = dma.attach(must(vfio_group::of(mediated_name, w.sysfs())));
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::no_such_device));
  CHECK(refused.error().sentence().find("another group, minor number 12") != std::string::npos);
  CHECK(w.gate.counts() == gate_counts{});
  CHECK(w.machine.files.empty());
  static_cast<void>(must(dma.attach(must(vfio_group::of(real_name, w.sysfs())))));
}

TEST_CASE("whose devices keep a group from being used is asked of the group that was opened") {
  two_groups w;
  w.made.add("0000:01:00.1", "pci", "12", "snd_hda_intel");
  w.put("/dev/vfio/30", false);
  w.machine.groups["/dev/vfio/30"].is.viable = false;
  container<type1> dma{w.guest, w.gate, type1{w.sysfs()}};
  CHECK(dma.attach(vfio_group{"/dev/vfio/30"}).error().blocker() == "0000:01:00.1 (snd_hda_intel)");
}

TEST_CASE(
    "a group that sysfs does not know by its number pins, whatever it is called, and is not "
    "refused") {
  two_groups w;
  std::filesystem::remove_all(w.made.root() / "dev");
  container<type1> dma{w.guest, w.gate, type1{w.sysfs()}};
  auto group = must(dma.attach(must(vfio_group::of(mediated_name, w.sysfs()))));
  CHECK(dma.backend().pins_now());
  CHECK(group.open(mediated_name, agrees_to_discards).error().is(errc::consent_refused));
  CHECK(group.open(mediated_name));
}

TEST_CASE("whatever stands behind a group's name or descriptor: whoever pins is held down for") {
  for (unsigned bits = 0; bits < 32; ++bits) {
    const bool asks_for_mediated = (bits & 1U) != 0;
    const bool is_mediated = (bits & 2U) != 0;
    const consent agrees = (bits & 4U) != 0 ? agrees_to_discards : consent::none;
    const unsigned how = bits >> 3U;  // by path, by device, by descriptor, unknown to sysfs
    CAPTURE(bits);
    two_groups w;
    container<type1> dma{w.guest, w.gate, type1{w.sysfs()}};
    const char* const path = asks_for_mediated ? "/dev/vfio/30" : "/dev/vfio/12";
    w.put(path, is_mediated);
    std::optional<kernel_descriptor<fake_vfio_kernel>> passed_in;
    if (how == 2) passed_in.emplace(fake_vfio_kernel::call(SYS_openat, AT_FDCWD, path, O_RDWR, 0));
    const auto named =
        how == 1   ? must(vfio_group::of(asks_for_mediated ? mediated_name : real_name, w.sysfs()))
        : how == 2 ? vfio_group::from_descriptor(passed_in->number(), path)
                   : vfio_group{path};
    if (how == 3) std::filesystem::remove_all(w.made.root() / "dev");
    auto group = dma.attach(named);
    CHECK(group.has_value() == (how != 1 || asks_for_mediated == is_mediated));
    if (!group) continue;
    CHECK(dma.backend().pins_now() == (how == 3 || !is_mediated));
    const auto device = group->open(is_mediated ? mediated_name : real_name, agrees);
    CHECK(device.has_value() == (agrees == consent::none || dma.backend().pins_now() == false));
    CHECK_FALSE((w.pinned() && may_discard(w.gate, discard_kind::uncoordinated)));
  }
}

}  // namespace exhaustive_exchanged_nodes
