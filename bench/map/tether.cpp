// SPDX-License-Identifier: BSL-1.0
// Attaching a group to a container: hold, join, map.
#include <map/map.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>

#include <memory>
#include <optional>

namespace {

template <class Granularity>
struct machine {
  explicit machine(map::subject& of) {
    bench::must(space.place(tether::region::ram(of.ram), tether::guest_address{0}));
  }
  [[gnu::noinline]] auto attach() { return dma.attach(nics); }

  tether::address_space space{};
  tether::discard_gate<> gate{};
  tether::container<tether::io_uring_buffers, Granularity> dma{
      space, gate, bench::must(tether::io_uring_buffers::open())};
  tether::endpoint_group nics{"nics", {{"eth0", tether::pin_class::pins}}};
};

template <class Granularity>
bench::sample attaches(map::subject& of) {
  return [vm = std::make_shared<machine<Granularity>>(of)] {
    std::optional<decltype(vm->attach())> group;
    const double took = bench::nanoseconds([&] { group.emplace(vm->attach()); });
    if (!*group) throw bench::cannot_run{std::string{group->error().sentence().c_str()}};
    bench::must((*group)->detach());
    return took * map::a_gib;
  };
}

const bench::side<map::subject> entered{
    "tether", [](map::subject& of) -> bench::sample {
      if (of.block == 64 * tether::KiB) return attaches<tether::fixed_block<64 * tether::KiB>>(of);
      if (of.block == 2 * tether::MiB) return attaches<tether::fixed_block<2 * tether::MiB>>(of);
      return attaches<tether::whole_section>(of);
    }};

}  // namespace
