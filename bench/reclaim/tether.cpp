// SPDX-License-Identifier: BSL-1.0
// Units by their numbers, as virtio-mem has them: unmapped in every container, then discarded;
// brought in, then mapped.
#include <reclaim/guest.hpp>

#include <tether/topology/unit_source.hpp>

#include <cstdint>

namespace {

template <std::uint64_t Unit>
struct by_units {
  explicit by_units(reclaim::subject const& of) : vm{of}, units{*vm.ram.backing().population()} {}

  void discard() {
    for (std::uint64_t i = 0; i != units.units().units(); ++i) {
      const auto permit = vm.gate.permit(tether::discard_kind::coordinated);
      bench::must(units.discard(i, permit));
    }
  }
  void populate() {
    for (std::uint64_t i = 0; i != units.units().units(); ++i)
      bench::must(
          units.populate(i, [this] { return vm.gate.permit(tether::discard_kind::coordinated); }));
  }

  reclaim::guest<Unit> vm;
  tether::unit_source units;
};

const bench::side<reclaim::subject> entered{"tether", reclaim::of_its_unit<by_units>};

}  // namespace
