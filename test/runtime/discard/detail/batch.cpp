// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/detail/batch.hpp>
#include <tether/inhibit/discard_gate.hpp>

#include <support/faulty_kernel.hpp>
#include <support/guest_ram.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <random>
#include <vector>

namespace runtime_discard_detail_batch {

using namespace tether;
using namespace tether::detail;
using detail::batch;
using tether_test::frame;

namespace {

struct two_blocks {
  ram_block first = ram_block::allocate<faulty_kernel>("first", 256 * frame).value();
  ram_block second = ram_block::allocate<faulty_kernel>("second", 256 * frame).value();

  two_blocks() {
    tether_test::mark_all(first);
    tether_test::mark_all(second);
    faulty_kernel::reset();
  }
  static void add(batch& all, ram_block const& ram, std::uint64_t number) {
    all.add({&ram.backing(), number * frame, frame, 1, nullptr});
  }
};

const auto nobody = [](detail::complete_page const&, bool) {};

}  // namespace

TEST_CASE(
    "as many calls are made as there are runs of neighbours, in whatever order they were added") {
  std::vector<std::uint64_t> numbers{0, 1, 2, 3, 10, 11, 20, 30, 31, 32, 33, 34};  // four runs
  std::mt19937_64 random{4};
  for (int round = 0; round < 20; ++round) {
    two_blocks memory;
    batch all;
    if (round == 1) std::ranges::reverse(numbers);
    if (round > 1) std::ranges::shuffle(numbers, random);
    for (const auto number : numbers) two_blocks::add(all, memory.first, number);
    discard_report report;
    discard_gate<> gate;
    const auto permit = gate.permit(discard_kind::uncoordinated);
    all.discard(permit, report, nobody);
    CAPTURE(round);
    CHECK(report.calls == 4);
    CHECK(faulty_kernel::calls_of(kernel_call::madvise) == 4);
    CHECK(report.discarded == numbers.size());
    CHECK(tether_test::count(memory.first) ==
          tether_test::counts{256 - numbers.size(), numbers.size()});
    for (const auto number : numbers) CHECK(tether_test::went(memory.first, number * frame));
    CHECK(all.size() == 0);
  }
}

TEST_CASE("neighbouring offsets in two blocks are no neighbours") {
  two_blocks memory;
  batch all;
  for (std::uint64_t number = 0; number < 8; ++number)
    two_blocks::add(all, number % 2 == 0 ? memory.first : memory.second, number);
  discard_report report;
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  all.discard(permit, report, nobody);
  CHECK(report.calls == 8);
  CHECK(tether_test::count(memory.first).gone == 4);
  CHECK(tether_test::count(memory.second).gone == 4);
}

TEST_CASE("a page that was named twice goes once, and is counted twice") {
  two_blocks memory;
  batch all;
  for (const std::uint64_t number : {5u, 5u, 6u, 5u}) two_blocks::add(all, memory.first, number);
  discard_report report;
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  all.discard(permit, report, nobody);
  CHECK(report.calls == 1);
  CHECK(report.discarded == 4);
  CHECK(tether_test::count(memory.first).gone == 2);
}

TEST_CASE("a full batch goes in one call where it can") {
  auto ram = ram_block::allocate<faulty_kernel>("ram", batch::capacity * frame).value();
  tether_test::mark_all(ram);
  batch all;
  for (std::uint64_t number = batch::capacity; number-- > 0;) two_blocks::add(all, ram, number);
  CHECK(all.size() == batch::capacity);
  discard_report report;
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  all.discard(permit, report, nobody);
  CHECK(report.calls == 1);
  CHECK(tether_test::count(ram).gone == batch::capacity);
}

TEST_CASE(
    "where a run is refused each of its pages is tried alone, and each is told what became of it") {
  two_blocks memory;
  batch all;
  for (std::uint64_t number = 0; number < 4; ++number) two_blocks::add(all, memory.first, number);
  two_blocks::add(all, memory.first, 9);
  discard_report report;
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  std::vector<bool> told;
  {
    // The run, the question whether it is locked, then its first page.
    const injected_fault fault{1, EINVAL, false, 3};
    all.discard(permit, report, [&](detail::complete_page const& one, bool discarded) {
      CHECK(one.offset == std::vector<std::uint64_t>{0, 1, 2, 3, 9}[told.size()] * frame);
      told.push_back(discarded);
    });
    CHECK(fault.fired());
  }
  CHECK(told == std::vector<bool>{false, true, true, true, true});
  CHECK(report.calls == 6);
  CHECK(report.errors == 1);
  CHECK(report.discarded == 4);
  REQUIRE(report.first_error);
  CHECK(report.first_error->is_errno(EINVAL));
  CHECK(tether_test::is_marked(memory.first, 0));
  CHECK(tether_test::count(memory.first).gone == 4);
}

}  // namespace runtime_discard_detail_batch
