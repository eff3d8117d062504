// SPDX-License-Identifier: BSL-1.0
// The one part of the proof that is modelled is what a kernel pins when (proof/model/kernel.hpp).
// So random walks through the proof's own worlds are done on the real kernel as well, and after
// every event the kernel is asked.
// tier: 1 2
// machine: -device pcie-pci-bridge,id=one,addr=8 -device edu,bus=one,addr=1 -device edu,bus=one,addr=2
// machine: -device pcie-pci-bridge,id=other,addr=9 -device edu,bus=other,addr=1 -device edu,bus=other,addr=2
// modules: kvm
// limit: 600
#include <system/replayed_walk.hpp>

#include <support/amount.hpp>

#include <cstdio>
#include <map>

namespace system_random_walks {

using namespace in_machine;

namespace {

struct over_type1 {
  using backend_type = vfio_type1;
  static constexpr const char* name = "type1";
  static backend_type make() { return backend_type{}; }
  static vfio_group describe(std::string const& device) { return group_of(device); }
};
struct over_iommufd {
  using backend_type = iommufd;
  static constexpr const char* name = "iommufd";
  static backend_type make() { return must(iommufd::open(must(iommufd_context::open()))); }
  static vfio_cdev describe(std::string const& device) { return must(vfio_cdev::of(device)); }
};

/// No policy of tether's, and none that the proof lets pass: with it pages do get stale, in the
/// world and on the kernel alike.
struct holds_nothing {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts) noexcept { return 0; }
};

bool there_are_mediated_devices() { return ::access("/sys/class/mdev_bus/mtty", F_OK) == 0; }

template <class Interface, class Inhibition, class Kvm>
void walks_with(std::vector<real_group> const& machine, std::uint64_t seed, walk_figures& counted) {
  using replayed = replayed_walk<Interface, Inhibition, Kvm>;
  using abstraction = typename replayed::abstraction;
  constexpr std::uint64_t operations_in_a_walk = 15;
  dice chance{seed};
  counted.demanded.add(demanded_of_walks<abstraction>());
  std::optional<replayed> real;
  const std::uint64_t until = counted.operations + tether_test::amount(150);
  for (unsigned turn = 0; counted.operations < until; ++turn) {
    INFO("seed " << seed << ", walk " << turn);
    if (!real)
      real.emplace(machine, turn % 2 == 0 ? memory_kind::private_anonymous : memory_kind::shared,
                   seed + turn, counted);
    walk<abstraction> way;
    way.reached = counted.reached;
    const std::uint64_t enough = counted.operations + operations_in_a_walk;
    while (counted.operations < enough && !way.here.containers[0].diverged) {
      real->operate(
          way.next(chance, [&](proof::event const& asked) { return real->feasible(asked); }));
    }
    ++counted.walks;
    counted.left_out += way.left_out;
    counted.reached.add(way.reached);
    if (way.here.containers[0].diverged && turn % 2 == 0) real->abandon();
    else real.reset();  // its destructor does as much
  }
}

template <class Interface>
void walks() {
  std::vector<real_group> machine;
  std::map<std::string, real_group> by_number;
  for (auto const& device : edu::devices())
    by_number[must(vfio_sysfs{}.group_of(device))].devices.push_back(device);
  for (auto const& [number, group] : by_number) machine.push_back(group);
  REQUIRE(machine.size() == 2);
  std::array<std::optional<mediated_device>, 2> mediated;
  if (there_are_mediated_devices()) {
    for (unsigned n = 0; n < mediated.size(); ++n)
      machine.push_back({{mediated[n].emplace(n).name()}, true});
  }
  const std::uint64_t seed = tether_test::seed();
  walk_figures counted;
  walks_with<Interface, inhibit_per_container, no_kvm>(machine, seed + 1, counted);
  walks_with<Interface, inhibit_per_group, no_kvm>(machine, seed + 2, counted);
  walks_with<Interface, inhibit_per_device, no_kvm>(machine, seed + 3, counted);
  walks_with<Interface, inhibit_per_group, watched_kvm>(machine, seed + 4, counted);
  CHECK(counted.stale == 0);  // what the proof says of these
  walks_with<Interface, holds_nothing, no_kvm>(machine, seed + 5, counted);
  CHECK(counted.stale != 0);

  const auto missing = counted.demanded.lacks(counted.reached);
  CHECK_MESSAGE(missing.empty(), std::string{proof::describe_trace(missing).view()});
  const char* const kernel = kernel_is("6.1") ? "Linux 6.1" : "Linux 6.12";
  std::printf("told: reached by walks over %s: %s\n", Interface::name,
              std::string{proof::describe_trace(counted.reached).view()}.c_str());
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "figures: random walks %s on %s, seed %llu: %llu walks, %llu operations, %llu events, %llu "
      "pin comparisons, %llu of them "
      "one-sided, %llu frames compared, %llu stale as foreseen, %llu transfers, %llu offers left "
      "out\n",
      Interface::name, kernel, number(seed), number(counted.walks), number(counted.operations),
      number(counted.events), number(counted.exact + counted.one_sided), number(counted.one_sided),
      number(counted.frames), number(counted.stale), number(counted.transfers),
      number(counted.left_out));
}

}  // namespace

TEST_CASE(
    "type1 pins what the proof says, when it says so: random walks, compared after every event") {
  walks<over_type1>();
}
TEST_CASE(
    "iommufd pins what the proof says, when it says so: random walks, compared after every event") {
  if (::access("/dev/iommu", F_OK) != 0)
    return static_cast<void>(std::puts("told: this kernel has no iommufd"));
  walks<over_iommufd>();
}

}  // namespace system_random_walks
