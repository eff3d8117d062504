// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/detail/batch.hpp>
#include <tether/inhibit/discard_gate.hpp>

#include <support/faulty_kernel.hpp>
#include <support/guest_ram.hpp>
#include <support/range_kernel.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <random>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace runtime_discard_detail_batch {

using namespace tether;
using namespace tether::detail;
using detail::batch;
using tether_test::frame;
using tether_test::range_kernel;
using tether_test::takes_no_ranges;
using tether_test::takes_ranges;

namespace {

template <class Kernel = takes_no_ranges>
struct two_blocks {
  ram_block first = ram_block::allocate<Kernel>("first", 256 * frame).value();
  ram_block second = ram_block::allocate<Kernel>("second", 256 * frame).value();

  two_blocks() {
    tether_test::mark_all(first);
    tether_test::mark_all(second);
    Kernel::reset();
  }
};

void add(batch& all, ram_block const& ram, std::uint64_t number) {
  all.add({&ram.backing(), number * frame, frame, 1, nullptr});
}

const auto nobody = [](detail::complete_page const&, bool) {};

/// Every second page of twenty, from `first` on.
discard_report discard_ten(ram_block const& ram, std::uint64_t first, discard_gate<>& gate) {
  batch all;
  for (std::uint64_t number = first; number < first + 20; number += 2) add(all, ram, number);
  discard_report report;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  all.discard(permit, report, nobody);
  return report;
}

}  // namespace

TEST_CASE(
    "as many calls are made as there are runs of neighbours, in whatever order they were added") {
  std::vector<std::uint64_t> numbers{0, 1, 2, 3, 10, 11, 20, 30, 31, 32, 33, 34};  // four runs
  std::mt19937_64 random{4};
  for (int round = 0; round < 20; ++round) {
    two_blocks<> memory;
    batch all;
    if (round == 1) std::ranges::reverse(numbers);
    if (round > 1) std::ranges::shuffle(numbers, random);
    for (const auto number : numbers) add(all, memory.first, number);
    discard_report report;
    discard_gate<> gate;
    const auto permit = gate.permit(discard_kind::uncoordinated);
    all.discard(permit, report, nobody);
    CAPTURE(round);
    CHECK(report.calls == 4 + 1);  // and one that was denied
    CHECK(takes_no_ranges::single == 4);
    CHECK(takes_no_ranges::vectored == 1);
    CHECK(report.discarded == numbers.size());
    CHECK(tether_test::count(memory.first) ==
          tether_test::counts{256 - numbers.size(), numbers.size()});
    for (const auto number : numbers) CHECK(tether_test::went(memory.first, number * frame));
    CHECK(all.size() == 0);
  }
}

TEST_CASE("neighbouring offsets in two blocks are no neighbours") {
  two_blocks<> memory;
  batch all;
  for (std::uint64_t number = 0; number < 8; ++number)
    add(all, number % 2 == 0 ? memory.first : memory.second, number);
  discard_report report;
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  all.discard(permit, report, nobody);
  CHECK(report.calls == 8 + 1);
  CHECK(tether_test::count(memory.first).gone == 4);
  CHECK(tether_test::count(memory.second).gone == 4);
}

TEST_CASE("a page that was named twice goes once, and is counted twice") {
  two_blocks<> memory;
  batch all;
  for (const std::uint64_t number : {5u, 5u, 6u, 5u}) add(all, memory.first, number);
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
  for (std::uint64_t number = batch::capacity; number-- > 0;) add(all, ram, number);
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
  two_blocks<> memory;
  batch all;
  for (std::uint64_t number = 0; number < 4; ++number) add(all, memory.first, number);
  add(all, memory.first, 9);
  discard_report report;
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  std::vector<bool> told;
  CHECK(range_advice<takes_no_ranges>::drop(nullptr, 0) == -ENOSYS);  // never asked again
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

TEST_CASE("all runs of a block go in one call, where the kernel takes that") {
  std::mt19937_64 random{5};
  for (int round = 0; round < 60; ++round) {
    two_blocks<takes_ranges> memory;
    batch all;
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t number = 0; number < 256; ++number)
      if (random() % 3 != 0) numbers.push_back(number);
    std::uint64_t runs = 0;
    for (std::size_t at = 0; at != numbers.size(); ++at)
      runs += at == 0 || numbers[at] != numbers[at - 1] + 1 ? 1U : 0U;
    const bool both = round % 2 == 1;
    auto shuffled = numbers;
    std::ranges::shuffle(shuffled, random);
    for (const auto number : shuffled) add(all, memory.first, number);
    for (const auto number : shuffled)
      if (both) add(all, memory.second, number);
    discard_report report;
    discard_gate<> gate;
    const auto permit = gate.permit(discard_kind::uncoordinated);
    all.discard(permit, report, nobody);
    CAPTURE(round);
    const std::uint64_t blocks = both ? 2 : 1;
    CHECK(report.calls == blocks);
    CHECK(takes_ranges::vectored == blocks);
    CHECK(takes_ranges::single == 0);
    CHECK(takes_ranges::ranges == std::vector<std::size_t>(blocks, runs));
    CHECK(report.discarded == blocks * numbers.size());
    const tether_test::counts left{256 - numbers.size(), numbers.size()};
    CHECK(tether_test::count(memory.first) == left);
    if (both) CHECK(tether_test::count(memory.second) == left);
  }
}

TEST_CASE("one run goes by madvise, and memory of a file and of another kind one run a call") {
  two_blocks<takes_ranges> memory;
  batch all;
  for (std::uint64_t number = 4; number < 9; ++number) add(all, memory.first, number);
  auto file = ram_block::allocate<takes_ranges>("file", 64 * frame, memory_kind::shared).value();
  for (std::uint64_t number = 0; number < 64; number += 2) add(all, file, number);
  discard_report report;
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  all.discard(permit, report, nobody);
  CHECK(report.calls == 1 + 32);
  CHECK(takes_ranges::vectored == 0);
  CHECK(takes_ranges::single == 1 + 32);  // MADV_DONTNEED, MADV_REMOVE
}

TEST_CASE_TEMPLATE("a kernel or a sandbox that denies it is asked once, and never again", Kernel,
                   range_kernel<ENOSYS>, range_kernel<EPERM>, range_kernel<EBADF>,
                   range_kernel<EACCES>) {
  two_blocks<Kernel> memory;
  discard_gate<> gate;
  for (std::uint64_t round = 0; round < 5; ++round) {
    const auto report = discard_ten(memory.first, 20 * round, gate);
    CHECK(report.calls == (round == 0 ? 11 : 10));
    CHECK(report.discarded == 10);
    CHECK(report.errors == 0);
  }
  CHECK(Kernel::vectored == 1);
  CHECK(Kernel::single == 50);
  CHECK(tether_test::count(memory.first).gone == 50);
}

TEST_CASE("one that says no in another way is asked once a batch") {
  using odd = range_kernel<EINVAL>;
  two_blocks<odd> memory;
  discard_gate<> gate;
  for (std::uint64_t round = 0; round < 3; ++round) {
    const auto report = discard_ten(memory.first, 20 * round, gate);
    CHECK(report.calls == 11);
    CHECK(report.discarded == 10);
  }
  CHECK(odd::vectored == 3);
  CHECK(tether_test::count(memory.first).gone == 30);
}

TEST_CASE("a range that fails is tried alone, and reported; those before and behind it go") {
  for (std::size_t failing = 1; failing <= 10; ++failing) {
    CAPTURE(failing);
    two_blocks<takes_ranges> memory;
    takes_ranges::failing_range = failing;
    batch all;
    for (std::uint64_t number = 0; number < 20; number += 2) add(all, memory.first, number);
    discard_report report;
    discard_gate<> gate;
    const auto permit = gate.permit(discard_kind::uncoordinated);
    std::vector<std::uint64_t> told;
    {
      const injected_fault fault{2, ENOMEM};  // what is tried alone fails, too
      all.discard(permit, report, [&](detail::complete_page const& one, bool discarded) {
        CHECK(discarded == (one.offset != 2 * (failing - 1) * frame));
        told.push_back(one.offset / frame);
        takes_ranges::failing_range = 0;
      });
      CHECK(fault.fired());
    }
    CHECK(told == std::vector<std::uint64_t>{0, 2, 4, 6, 8, 10, 12, 14, 16, 18});
    // up to the failing one, that alone, and those behind it: by madvise if that is one
    CHECK(report.calls == (failing == 10 ? 2 : 3));
    CHECK(report.discarded == 9);
    CHECK(report.errors == 1);
    REQUIRE(report.first_error);
    CHECK(report.first_error->is_errno(ENOMEM));
    CHECK(report.first_error->sentence().find("discard") != std::string::npos);
    CHECK(tether_test::is_marked(memory.first, 2 * (failing - 1) * frame));
    CHECK(tether_test::count(memory.first).gone == 9);
  }
}

TEST_CASE("whatever this host's kernel takes, and once a fork has inherited what is known of it") {
  auto ram = ram_block::allocate("ram", 256 * frame).value();
  discard_gate<> gate;
  const auto every_second_goes = [&] {
    tether_test::mark_all(ram);
    batch all;
    for (std::uint64_t number = 0; number < 256; number += 2) add(all, ram, number);
    discard_report report;
    const auto permit = gate.permit(discard_kind::uncoordinated);
    all.discard(permit, report, nobody);
    return report.discarded == 128 && report.errors == 0 &&
           (report.calls == 1 || report.calls == 128 || report.calls == 129) &&
           tether_test::count(ram) == tether_test::counts{128, 128};
  };
  CHECK(every_second_goes());
  // A child's call is for the child's own memory: its parent's stays as it is.
  REQUIRE(::madvise(ram.data(), ram.size(), MADV_DOFORK) == 0);
  tether_test::mark_all(ram);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(every_second_goes() ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(tether_test::count(ram) == tether_test::counts{256, 0});
  CHECK(every_second_goes());
}

}  // namespace runtime_discard_detail_batch
