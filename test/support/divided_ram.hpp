// SPDX-License-Identifier: BSL-1.0
// A block of divided memory with a gate and one source of discards, for tests of units.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/unit_source.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sys/mman.h>
#include <vector>

namespace tether_test {

struct divided_ram {
  tether::ram_block ram;
  tether::discard_gate<> gate{};
  std::optional<tether::unit_source> source{};

  divided_ram(std::uint64_t units, std::uint64_t unit_size)
      : ram{must(tether::ram_block::allocate("ram", units * unit_size))} {
    must(tether::divide(ram, unit_size));
    source.emplace(units_of_it());
  }

  [[nodiscard]] tether::population& units_of_it() const { return *ram.backing().population(); }
  tether::result<void> discard(std::uint64_t which) {
    const auto permit = gate.permit(tether::discard_kind::coordinated);
    return source->discard(which, permit);
  }
  tether::result<void> populate(std::uint64_t which) {
    return source->populate(which,
                            [this] { return gate.permit(tether::discard_kind::coordinated); });
  }
  [[nodiscard]] bool populated(std::uint64_t which) const {
    return units_of_it().is_populated(which);
  }
  /// How many bytes of it have a page. Asks the kernel: reading would bring pages in.
  [[nodiscard]] std::uint64_t resident_bytes() const {
    std::vector<unsigned char> pages(static_cast<std::size_t>(ram.size() / page));
    REQUIRE(::mincore(ram.data(), ram.size(), pages.data()) == 0);
    return page * static_cast<std::uint64_t>(std::ranges::count_if(
                      pages, [](unsigned char one) { return (one & 1) != 0; }));
  }
  /// Whether the first page of a unit is there.
  [[nodiscard]] bool resident(std::uint64_t which) const {
    unsigned char first = 0;
    REQUIRE(::mincore(ram.data() + which * units_of_it().unit_size(), page, &first) == 0);
    return (first & 1) != 0;
  }

 private:
  static constexpr std::uint64_t page = 4096;
};

}  // namespace tether_test
