// SPDX-License-Identifier: BSL-1.0
// A guest whose memory is one block, divided into units, with containers that map it in blocks.
#pragma once

#include <reclaim/reclaim.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>

#include <cstdint>
#include <deque>

namespace reclaim {

template <std::uint64_t Unit>
struct guest {
  using container = tether::container<tether::io_uring_buffers, tether::fixed_block<Unit>>;

  explicit guest(subject const& of) : ram{memory(of)} {
    bench::must(tether::divide(ram, Unit));
    bench::must(space.place(tether::region::ram(ram), tether::guest_address{0}));
    for (unsigned i = 0; i != of.containers; ++i) {
      containers.emplace_back(space, gate, bench::must(tether::io_uring_buffers::open()));
      groups.push_back(bench::must(containers.back().attach(nics)));
    }
  }

  tether::ram_block ram;
  tether::address_space space{};
  tether::discard_gate<> gate{};
  tether::endpoint_group nics{"nics", {{"eth0", tether::pin_class::pins}}};
  std::deque<container> containers{};
  std::deque<typename container::attached> groups{};
};

/// `Side<Unit>` of the subject's unit.
template <template <std::uint64_t> class Side>
bench::sample of_its_unit(subject& of) {
  if (of.unit == 64 * tether::KiB) return goes_and_comes<Side<64 * tether::KiB>>(of);
  if (of.unit == 2 * tether::MiB) return goes_and_comes<Side<2 * tether::MiB>>(of);
  if (of.unit == 64 * tether::MiB) return goes_and_comes<Side<64 * tether::MiB>>(of);
  return goes_and_comes<Side<tether::GiB>>(of);
}

}  // namespace reclaim
