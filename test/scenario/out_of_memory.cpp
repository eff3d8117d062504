// SPDX-License-Identifier: BSL-1.0
// The process runs out of memory at every allocation of every edit and commit in turn: each is an
// error, none an exception, and each leaves everything as it was.
#include <tether/topology/address_space.hpp>

#include <support/failing_allocation.hpp>
#include <support/listener_recorder.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <system_error>
#include <vector>

namespace scenario_out_of_memory {

using namespace tether;
using tether_test::allocations_can_fail;
using tether_test::cannot_fail_allocations;
using tether_test::failing_allocation;
using tether_test::must;

namespace {

/// Counts, and never allocates.
struct counting_listener {
  std::uint64_t sections = 0;
  std::uint64_t begins = 0;
  void begin(commit_kind) noexcept { ++begins; }
  void remove(section const&) noexcept { --sections; }
  void add(section const&) noexcept { ++sections; }
  result<void> commit() noexcept { return {}; }
};

struct world {
  ram_block block = must(ram_block::allocate("ram", 1 * MiB));
  ram_block other = must(ram_block::allocate("other", 1 * MiB));
  address_space guest;
  region_id ram = must(guest.place(region::ram(block), guest_address{0}));
  region_id bar = must(guest.place(region::mmio("bar", 4096), guest_address{8192}, 1));
  counting_listener listener;

  world() { must(guest.add_listener(listener)); }
  ~world() { static_cast<void>(guest.remove_listener(listener)); }
  world(world const&) = delete;
  world& operator=(world const&) = delete;

  [[nodiscard]] std::vector<section> listed() const {
    const auto view = guest.view();
    return {view->begin(), view->end()};
  }
};

/// Fails each allocation of `act` in turn. Answers how many there were.
template <class Act>
std::uint64_t sweep(Act act) {
  for (std::uint64_t n = 1;; ++n) {
    world w;
    const auto before = w.listed();
    const auto references = w.block.backing().references() + w.other.backing().references();
    failing_allocation = n;
    const auto outcome = act(w);
    const bool struck = failing_allocation == 0;
    failing_allocation = 0;
    if (!struck) {
      CHECK(outcome.has_value());
      return n - 1;
    }
    REQUIRE_FALSE(outcome.has_value());
    CHECK(outcome.error().code() == std::make_error_code(std::errc::not_enough_memory));
    CHECK(w.listed() == before);
    CHECK(w.listener.sections == before.size());
    CHECK(w.listener.begins == 1);
    CHECK(w.block.backing().references() + w.other.backing().references() == references);
    // It was only memory: the same works now.
    CHECK(act(w).has_value());
    CHECK(w.listener.sections == w.guest.view()->size());
  }
}

}  // namespace

TEST_CASE("running out of memory at any allocation of an edit or a commit changes nothing") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  CHECK(sweep([](world& w) {
          return w.guest.place(region::ram(w.other), guest_address{4096}, 2);
        }) > 5);
  CHECK(sweep([](world& w) { return w.guest.remove(w.bar); }) > 3);
  CHECK(sweep([](world& w) { return w.guest.move(w.bar, guest_address{16384}); }) > 3);
  CHECK(sweep([](world& w) { return w.guest.set_read_only(w.ram, true); }) > 3);
  CHECK(sweep([](world& w) { return w.guest.set_enabled(w.ram, false); }) > 3);
  CHECK(sweep([](world& w) -> result<commit_report> {
          auto change = w.guest.begin(commit_kind::compulsory);
          if (auto done = change.remove(w.bar); !done) return failure(done.error());
          if (auto id = change.place(region::ram(w.other), guest_address{2 * MiB}); !id)
            return failure(id.error());
          if (auto done = change.move(w.ram, guest_address{4096}); !done)
            return failure(done.error());
          return change.commit();
        }) > 10);
}

TEST_CASE("running out of memory while a listener registers leaves it with nothing") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  for (std::uint64_t n = 1;; ++n) {
    world w;
    counting_listener late;
    failing_allocation = n;
    const auto outcome = w.guest.add_listener(late);
    const bool struck = failing_allocation == 0;
    failing_allocation = 0;
    if (!struck) {
      must(w.guest.remove_listener(late));
      CHECK(n > 2);
      return;
    }
    REQUIRE_FALSE(outcome);
    CHECK(late.sections == 0);
    must(w.guest.add_listener(late));
    CHECK(late.sections == w.guest.view()->size());
    must(w.guest.remove_listener(late));
  }
}

TEST_CASE("running out of memory for a block's record is an error") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  failing_allocation = 1;
  const auto block = ram_block::allocate("ram", 4096);
  failing_allocation = 0;
  REQUIRE_FALSE(block);
  CHECK(block.error().code() == std::make_error_code(std::errc::not_enough_memory));
}

}  // namespace scenario_out_of_memory
