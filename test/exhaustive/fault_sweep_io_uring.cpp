// SPDX-License-Identifier: BSL-1.0
// The backend that pins real memory: opening its ring, the join that pins all that is recorded,
// mapping, unmapping and leaving. Each call and each allocation fails, alone and in pairs, and the
// kernel's own count of pinned pages is compared.
#include <support/faulty_kernel.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/pinned_memory.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>
#include <support/sweep.hpp>

#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace exhaustive_fault_sweep_io_uring {

using namespace tether;
using namespace tether_test;

namespace {

using backend_type = basic_io_uring_buffers<kernel_with_own_memory<faulty_kernel>>;

/// A container with slots of one page, so that a mapping has several, and two mappings.
struct world {
  const std::uint64_t page = host_page();
  host_memory memory{8 * host_page()};
  std::optional<backend_type> ring;
  std::optional<backend_type::joined_group> group;

  static endpoint_group const& nics() {
    static const endpoint_group one{"a group whose name is too long to be kept in place",
                                    {{"nic", pin_class::pins}}};
    return one;
  }
  /// Made by the caller of the operation, whose own memory is not what is swept.
  [[nodiscard]] static io_uring_options options() {
    const std::uint64_t kept = std::exchange(failing_allocation, 0);
    io_uring_options chosen{.slots = 16, .bytes_per_slot = host_page()};
    failing_allocation = kept;
    return chosen;
  }
  [[nodiscard]] mapping piece(std::uint64_t at, std::uint64_t pages) const {
    return memory.at(at * page, at * page, pages * page);
  }

  void open() {
    static_cast<void>(nics());
    ring = must(backend_type::open(options()));
  }
  void record() {
    open();
    must(ring->map(piece(0, 2)));
    must(ring->map(piece(2, 1)));
  }
  void pin() {
    record();
    group = must(ring->join(nics()));
  }
  result<void> keep(result<backend_type::joined_group> joined) {
    if (!joined) return failure(joined.error());
    group.emplace(std::move(*joined));
    return {};
  }

  [[nodiscard]] std::string state() const {
    std::string all =
        "pinned by the kernel " + std::to_string(pinned_by_the_kernel()) + " descriptors";
    for (auto const& [number, target] : descriptors()) all += " " + std::to_string(number);
    if (!ring) return all;
    return all + " pinned " + std::to_string(ring->pinned_bytes()) + " free " +
           std::to_string(ring->free_mappings()) + (ring->pins_now() ? " pins" : "");
  }
  [[nodiscard]] static bool stuck(result<void> const& done) {
    return !done && done.error().rollback_failed();
  }
  void check_diverged(std::string const&) {
    // it never takes for gone what is pinned
    CHECK(ring->pinned_bytes() >= pinned_by_the_kernel());
    must(ring->abandon());
    CHECK(pinned_by_the_kernel() == 0);
    group.reset();
    CHECK(ring->free_mappings() == options().slots - 1);
    must(ring->map(piece(0, 2)));
    group = must(ring->join(nics()));
    CHECK(pinned_by_the_kernel() == 2 * page);
  }
  void check_consistent() {
    if (ring) CHECK(ring->pinned_bytes() == pinned_by_the_kernel());
  }
  void check_at_rest() {
    ring.reset();
    group.reset();
    CHECK(pinned_by_the_kernel() == 0);
  }
};

const sweep_operation<world> opening{"open", [](world&) {},
                                     [](world& w) -> result<void> {
                                       auto made = backend_type::open(world::options());
                                       if (!made) return failure(made.error());
                                       w.ring.emplace(std::move(*made));
                                       return {};
                                     }};

std::vector<sweep_operation<world>> with_a_ring() {
  const auto pinned = [](world& w) { w.pin(); };
  return {
      {"map what is only recorded", [](world& w) { w.record(); },
       [](world& w) { return w.ring->map(w.piece(4, 3)); }},
      {"pin what is recorded", [](world& w) { w.record(); },
       [](world& w) { return w.keep(w.ring->join(world::nics())); }},
      {"map and pin", pinned, [](world& w) { return w.ring->map(w.piece(4, 3)); }},
      {"unmap one", pinned, [](world& w) { return w.ring->unmap(w.piece(0, 2).where); }},
      {"unmap two at once", pinned, [](world& w) { return w.ring->unmap(w.piece(0, 3).where); }},
      {"leave, and so unpin", pinned, [](world& w) { return w.ring->leave(*w.group); }},
      {"abandon", pinned, [](world& w) { return w.ring->abandon(); }},
  };
}

}  // namespace

TEST_CASE(
    "whichever call or allocation fails, a container of io_uring's pins has exactly its pins, or "
    "says that it is stuck") {
  if (auto possible = io_uring_buffers::open({.slots = 4}); !possible)
    return skip_because(possible.error().sentence());
  sweep_figures figures;
  sweep(opening, figures);
  if (unpins_slowly()) {
    MESSAGE("this kernel lets pages go slowly: only opening is walked");
  } else {
    for (auto const& one : with_a_ring()) sweep(one, figures);
    CHECK(figures.diverged != 0);
  }
  CHECK(figures.taken_back != 0);
  figures.print("on io_uring's pins");
}

}  // namespace exhaustive_fault_sweep_io_uring
