// SPDX-License-Identifier: BSL-1.0
// Whichever system call or allocation fails while a unit of divided memory is discarded or brought
// back, while a container attaches that follows units, or while the memory is placed or removed:
// everything is as before, or the container has diverged, and no device reaches what is gone.
#include <support/divided_ram.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/guest_ram.hpp>
#include <support/must.hpp>
#include <support/sweep.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/unit_source.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace exhaustive_fault_sweep_units {

using namespace tether;
using namespace tether_test;

namespace {

using kernel = kernel_with_own_memory<fake_vfio_kernel>;

constexpr std::uint64_t unit = 64 * KiB;  // two blocks
constexpr std::uint64_t units = 3;
constexpr guest_address ram_at{1 * MiB};

/// Of three units the second one is gone.
struct world {
  using container_type = container<basic_vfio_type1<kernel>, fixed_block<unit / 2>>;
  struct begin {
    begin() { fake_vfio_kernel::start_anew().groups["/dev/vfio/1"].is = {}; }
  };
  begin first_of_all;
  ram_block ram = must(ram_block::allocate<kernel>("ram", units* unit));
  address_space guest;
  discard_gate<> gate;
  std::optional<region_id> region;
  std::optional<unit_source> source;
  std::optional<container_type> dma;
  std::optional<container_type::attached> group;

  world() {
    must(divide(ram, unit));
    mark_all(ram);
    source.emplace(all());
    must(discard(1));
    region = must(guest.place(region::ram(ram), ram_at));
    dma.emplace(guest, gate, basic_vfio_type1<kernel>{vfio_sysfs{"/nonexistent"}});
  }
  world(world const&) = delete;
  world& operator=(world const&) = delete;

  [[nodiscard]] population& all() const { return *ram.backing().population(); }
  result<void> discard(std::uint64_t which) {
    const auto permit = gate.permit(discard_kind::coordinated);
    return source->discard(which, permit);
  }
  result<void> populate(std::uint64_t which) {
    return source->populate(which, [this] { return gate.permit(discard_kind::coordinated); });
  }
  result<void> attach() {
    auto made = dma->attach(vfio_group{"/dev/vfio/1"});
    if (!made) return failure(made.error());
    group.emplace(*made);
    return {};
  }
  result<void> place() {
    auto placed = guest.place(region::ram(ram), ram_at);
    if (!placed) return failure(placed.error());
    region = *placed;
    return {};
  }
  result<void> remove() {
    auto gone = guest.remove(*region);
    if (gone) region.reset();
    return gone;
  }

  [[nodiscard]] bool resident(std::uint64_t offset) const {
    unsigned char there = 0;
    REQUIRE(::mincore(ram.data() + offset, 1, &there) == 0);
    return (there & 1) != 0;
  }
  /// Whether the machine's devices reach each unit: all of it, some of it or nothing.
  [[nodiscard]] std::string reached() const {
    std::uint64_t bytes[units]{};
    for (auto const& [at, one] : fake_vfio_kernel::machine().mapped())
      bytes[(at - ram_at.value) / unit] += one.last - at + 1;
    std::string text;
    for (const std::uint64_t one : bytes) text += one == unit ? 'm' : one == 0 ? '-' : '?';
    return text;
  }
  [[nodiscard]] std::string there() const {
    std::string text;
    for (std::uint64_t which = 0; which < units; ++which)
      text += all().is_populated(which) ? 'm' : '-';
    return text;
  }
  [[nodiscard]] std::string state() const {
    const auto counts = gate.counts();
    std::string text = "there " + there() + " reached " + reached() + " wanted gone " +
                       std::to_string(source->size()) + " mapped " +
                       std::to_string(dma->usage().mappings) + "/" +
                       std::to_string(dma->usage().discarded) + " holds " +
                       std::to_string(counts.uncoordinated_holds) + " groups " +
                       std::to_string(dma->membership().members) + " regions " +
                       std::to_string(guest.view()->size()) + (dma->diverged() ? " diverged" : "");
    for (std::uint64_t which = 0; which < units; ++which)
      if (all().is_populated(which)) text += resident(which * unit) ? " there" : " lost";
    return text;
  }
  [[nodiscard]] bool stuck(result<void> const& done) const {
    return dma->diverged() || (!done && done.error().rollback_failed());
  }
  /// No device reaches what has been given back.
  void check_reached_is_there() const {
    for (auto const& [at, one] : fake_vfio_kernel::machine().mapped())
      for (std::uint64_t byte = at; byte < one.last; byte += frame)
        CHECK(resident(byte - ram_at.value));
  }
  void check_diverged(std::string const&) {
    CHECK(dma->diverged());
    check_reached_is_there();
    if (reached() != "---") CHECK(gate.counts().uncoordinated_holds != 0);
    must(dma->abandon());
    group.reset();
    CHECK(reached() == "---");
  }
  void check_consistent() const {
    check_reached_is_there();
    CHECK(reached() == (group && region ? there() : "---"));
  }
  void check_at_rest() {
    if (!dma->diverged()) check_consistent();
    if (group) must(group->detach());
    group.reset();
    CHECK(reached() == "---");
    CHECK(gate.counts() == gate_counts{});
    for (std::uint64_t which = 0; which < units; ++which) {
      // what a stuck populate had brought in goes with the next discard
      if (!all().is_populated(which)) must(populate(which));
      must(discard(which));
      CHECK_FALSE(resident(which * unit));
    }
    dma.reset();
  }
};

void attached(world& w) { must(w.attach()); }

}  // namespace

TEST_CASE(
    "whichever call or allocation fails where units are, everything is as before, or the container "
    "has diverged") {
  const std::vector<sweep_operation<world>> operations{
      {"discard a unit", attached, [](world& w) { return w.discard(0); }},
      {"discard a unit that nobody maps", [](world&) {}, [](world& w) { return w.discard(0); }},
      {"bring a unit back", attached, [](world& w) { return w.populate(1); }},
      {"bring a unit back that nobody maps", [](world&) {}, [](world& w) { return w.populate(1); }},
      {"attach where a unit is gone", [](world&) {}, [](world& w) { return w.attach(); }},
      {"remove memory of which a unit is gone", attached, [](world& w) { return w.remove(); }},
      {"place memory of which a unit is gone",
       [](world& w) {
         attached(w);
         must(w.remove());
       },
       [](world& w) { return w.place(); }},
  };
  sweep_figures figures;
  for (const int errno_value : {EIO, ENOMEM})
    for (auto const& one : operations) sweep(one, figures, {.errno_value = errno_value});
  CHECK(figures.taken_back > 20);
  CHECK(figures.diverged != 0);
  figures.print("of units");
}

}  // namespace exhaustive_fault_sweep_units
