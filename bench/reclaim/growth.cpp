// SPDX-License-Identifier: BSL-1.0
// Both sides of that: a container beside none.
#include <reclaim/growth.hpp>

#include <racing/must.hpp>
#include <racing/race.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/unit_source.hpp>

#include <cstdint>
#include <memory>
#include <optional>

namespace {

constexpr std::uint64_t unit = 4 * tether::KiB;

struct guest {
  using container = tether::container<tether::software_iommu, tether::fixed_block<unit>>;

  guest(std::uint64_t count, bool attached)
      : ram{bench::must(tether::ram_block::allocate("ram", count * unit))},
        dma{space, gate, tether::software_iommu{{.budget = 1'000'000}}} {
    bench::must(tether::divide(ram, unit));
    // past the hole of an ordinary machine, in which a section of some sizes would end
    bench::must(space.place(tether::region::ram(ram), tether::guest_address{4 * tether::GiB}));
    if (attached) group.emplace(bench::must(dma.attach(nics)));
    units.emplace(*ram.backing().population());
  }
  void go_and_come() {
    const auto ask = [this] { return gate.permit(tether::discard_kind::coordinated); };
    for (std::uint64_t i = 0; i != units->units().units(); ++i) {
      const auto permit = ask();
      bench::must(units->discard(i, permit));
    }
    for (std::uint64_t i = 0; i != units->units().units(); ++i)
      bench::must(units->populate(i, ask));
  }

  tether::ram_block ram;
  tether::address_space space{};
  tether::discard_gate<> gate{};
  tether::endpoint_group nics{"nics", {{"eth0", tether::pin_class::pins}}};
  container dma;
  std::optional<container::attached> group{};
  std::optional<tether::unit_source> units{};
};

bench::sample with(reclaim::growth& of, bool attached) {
  return [vm = std::make_shared<guest>(of.units, attached)] {
    const double took = bench::nanoseconds([&] { vm->go_and_come(); });
    return took / static_cast<double>(vm->units->units().units());
  };
}

const bench::side<reclaim::growth> one{"tether",
                                       [](reclaim::growth& of) { return with(of, true); }};
const bench::side<reclaim::growth> none{"tether, nothing attached",
                                        [](reclaim::growth& of) { return with(of, false); }};

}  // namespace
