// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/page_reporting.hpp>

#include <support/faulty_kernel.hpp>
#include <support/guest_ram.hpp>
#include <support/range_kernel.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

namespace runtime_discard_page_reporting {

using namespace tether;
using tether_test::frame;
using tether_test::takes_no_ranges;
using tether_test::takes_ranges;

namespace {

using range = extent<guest_address>;
constexpr range bytes(std::uint64_t first, std::uint64_t size) {
  return {guest_address{first}, guest_address{first + size - 1}};
}

/// 2 MiB of memory at 16 MiB.
template <class Kernel = takes_ranges>
struct small_guest {
  ram_block ram = ram_block::allocate<Kernel>("ram", 2 * MiB).value();
  address_space guest;
  discard_gate<> gate;
  page_reporting<> reporting{guest, gate};

  small_guest() {
    REQUIRE(guest.place(region::ram(ram), guest_address{16 * MiB}));
    tether_test::mark_all(ram);
    Kernel::reset();
  }
  discard_report report(std::vector<range> const& element, std::uint32_t poison = 0) {
    const auto before = Kernel::vectored + Kernel::single;
    auto told = reporting.report(element, poison);
    CHECK(told.adds_up());
    CHECK(told.calls == Kernel::vectored + Kernel::single - before);
    return told;
  }
  [[nodiscard]] std::uint64_t gone() const { return tether_test::count(ram).gone; }
};

}  // namespace

TEST_CASE_TEMPLATE(
    "reported ranges go, in one call where the kernel takes that, and nothing beside them", Kernel,
    takes_ranges, takes_no_ranges) {
  small_guest<Kernel> one;
  const auto told = one.report({bytes(16 * MiB, 64 * KiB), bytes(17 * MiB, 4 * KiB)});
  CHECK(told.requested == 17);
  CHECK(told.discarded == 17);
  CHECK(told.calls == (std::is_same_v<Kernel, takes_ranges> ? 1 : 3));  // 3: one was denied
  CHECK(one.gone() == 17);
  CHECK(tether_test::went(one.ram, 0));
  CHECK(tether_test::went(one.ram, 1 * MiB));
  CHECK(tether_test::is_marked(one.ram, 1 * MiB + frame));
}

/// Elements of R ranges that make fewer runs, in whatever order. Where the kernel takes many
/// ranges, a permit makes one call; where it does not, one a run, and the first with several runs
/// one that is denied.
TEST_CASE_TEMPLATE("the system calls of an element are known exactly", Kernel, takes_ranges,
                   takes_no_ranges) {
  small_guest<Kernel> one;
  std::mt19937_64 random{24};
  std::uint64_t denied = 0;
  for (int round = 0; round < 40; ++round) {
    std::vector<range> element;
    std::uint64_t frames = 0;
    std::uint64_t runs = 0;
    for (std::uint64_t at = random() % 8; at + 8 <= 512;) {
      const std::uint64_t size = 1 + random() % 8;
      element.push_back(bytes(16 * MiB + at * frame, size * frame));
      frames += size;
      at += size;
      const std::uint64_t apart = random() % 4;  // none: the next one is of the same run
      runs += apart != 0 || at + 8 > 512 ? 1U : 0U;
      at += apart;
    }
    if (round % 4 == 1) std::ranges::reverse(element);
    if (round % 4 == 2) std::ranges::shuffle(element, random);
    tether_test::mark_all(one.ram);
    const auto vectored_before = Kernel::vectored;
    const auto single_before = Kernel::single;
    const auto told = one.report(element);
    const bool together = runs > 1 && std::is_same_v<Kernel, takes_ranges>;
    const std::uint64_t refused = runs > 1 && !together && denied == 0 ? 1 : 0;
    denied += refused;
    CAPTURE(round);
    CHECK(Kernel::vectored - vectored_before == (together ? 1 : refused));
    CHECK(Kernel::single - single_before == (together ? 0 : runs));
    CHECK(told.discarded == frames);
    CHECK(one.gone() == frames);
  }
}

TEST_CASE("ranges that overlap, or lie in one another, all go, and are counted as named") {
  small_guest<> one;
  const auto told =
      one.report({bytes(16 * MiB, 64 * KiB), bytes(16 * MiB + 4 * KiB, 4 * KiB),
                  bytes(16 * MiB, 4 * KiB), bytes(16 * MiB + 60 * KiB, 8 * KiB)});
  CHECK(told.discarded == 16 + 1 + 1 + 2);
  CHECK(one.gone() == 17);
}

TEST_CASE("a guest that checks its poison loses no reported page") {
  small_guest<> one;
  const auto told = one.report({bytes(16 * MiB, 64 * KiB)}, 0xaa);
  CHECK(told.inhibited == 16);
  CHECK(told.calls == 0);
  CHECK(one.gone() == 0);
}

TEST_CASE("while anything pins, no reported page goes, not even where coordinated discards may") {
  for (const auto kind : {hold_kind::any, hold_kind::uncoordinated}) {
    small_guest<> one;
    {
      const auto hold = one.gate.hold(kind, "group 12");
      REQUIRE(hold);
      CHECK(one.report({bytes(16 * MiB, 64 * KiB), bytes(17 * MiB, 64 * KiB)}).inhibited == 32);
    }
    CHECK(one.gone() == 0);
    CHECK(one.report({bytes(16 * MiB, 64 * KiB)}).discarded == 16);
  }
}

TEST_CASE(
    "a range that is not whole pages, or reaches past the memory, is left out as far as it is "
    "not") {
  small_guest<> one;
  SUBCASE("a ragged start") {
    CHECK(one.report({bytes(16 * MiB + 100, 64 * KiB - 100)}).partial == 16);
  }
  SUBCASE("a ragged end") { CHECK(one.report({bytes(16 * MiB, 64 * KiB - 1)}).partial == 16); }
  SUBCASE("less than a frame, across two") {
    CHECK(one.report({bytes(16 * MiB + 4095, 2)}).partial == 2);
  }
  SUBCASE("nothing there") { CHECK(one.report({bytes(64 * MiB, 64 * KiB)}).not_ram == 16); }
  CHECK(one.gone() == 0);

  const auto over_the_end = one.report({bytes(18 * MiB - 8 * KiB, 16 * KiB)});
  CHECK(over_the_end.discarded == 2);
  CHECK(over_the_end.not_ram == 2);
  CHECK(one.gone() == 2);
}

TEST_CASE("one bad range keeps no other of its element") {
  small_guest<> one;
  const auto told =
      one.report({bytes(0, 4 * KiB), bytes(16 * MiB + 1, 4 * KiB), bytes(16 * MiB, 4 * KiB)});
  CHECK(told.not_ram == 1);
  CHECK(told.partial == 2);
  CHECK(told.discarded == 1);
}

TEST_CASE(
    "a range over several sections is taken section by section; registers and firmware stay") {
  auto above = ram_block::allocate("above", 1 * MiB, memory_kind::shared).value();
  auto firmware = ram_block::allocate("firmware", 64 * KiB).value();
  tether_test::mark_all(above);
  tether_test::mark_all(firmware);
  small_guest<> one;
  address_space& guest = one.guest;
  REQUIRE(guest.place(region::ram(above), guest_address{18 * MiB}));
  REQUIRE(guest.place(region::mmio("registers", 6 * KiB), guest_address{17 * MiB}, 1));
  REQUIRE(guest.place(region::rom(firmware), guest_address{18 * MiB}, 1));

  const auto told = one.reporting.report(std::array{bytes(16 * MiB, 4 * MiB)});
  CHECK(told.adds_up());
  CHECK(told.requested == 1024);
  // the registers with the frame that they begin, the firmware, the hole above
  CHECK(told.not_ram == 2 + 16 + 256);
  CHECK(told.discarded == 1024 - told.not_ram);
  CHECK(told.calls == 2);  // both sides of the registers together; a file's memory alone
  CHECK(tether_test::count(one.ram) == tether_test::counts{2, 510});
  CHECK(tether_test::count(above) == tether_test::counts{16, 240});
  CHECK(tether_test::count(firmware).marked == 16);
}

TEST_CASE("all of the address space can be reported, and is walked by its sections") {
  small_guest<> one;
  const auto told = one.report({range::everything()});
  CHECK(told.requested == std::uint64_t{1} << 52);
  CHECK(told.discarded == 512);
  CHECK(told.not_ram == told.requested - 512);
  CHECK(told.calls == 1);
  CHECK(one.gone() == 512);
}

TEST_CASE(
    "a range that wraps, or ends before it begins, is no memory: it is counted at once, and the "
    "next goes on") {
  constexpr std::uint64_t end = ~std::uint64_t{0};
  struct inside_out {
    range what;
    std::uint64_t frames;
  };
  const std::array<inside_out, 6> all{{
      // what a guest's descriptor of address and length makes
      {bytes(end - 4095, 8 * KiB), 2},
      // wraps into the memory
      {bytes(end - 4 * MiB + 1, 4 * MiB + 16 * MiB + 64 * KiB), 1024 + 4096 + 16},
      {bytes(end - 100, 200), 2},
      {{guest_address{16 * MiB + 8 * KiB}, guest_address{16 * MiB - 1}},
       (std::uint64_t{1} << 52) - 2},
      {{guest_address{16 * MiB + 4 * KiB}, guest_address{16 * MiB + 4 * KiB - 1}},
       std::uint64_t{1} << 52},
      {{guest_address{end}, guest_address{0}}, 2},
  }};
  for (auto const& [what, frames] : all) {
    CAPTURE(what.first.value);
    small_guest<> one;
    const auto told = one.report({what, bytes(17 * MiB, 4 * KiB)});
    CHECK(told.not_ram == frames);
    CHECK(told.requested == frames + 1);
    CHECK(told.discarded == 1);
    CHECK(one.gone() == 1);
    const auto hold = one.gate.hold(hold_kind::any, "group 12");
    REQUIRE(hold);
    CHECK(one.reporting.report(std::array{bytes(17 * MiB, 4 * KiB), what}).inhibited == frames + 1);
  }
}

TEST_CASE(
    "more frames than a count can hold are counted as far as they fit, and nothing of them goes") {
  small_guest<> one;
  const std::vector<range> element(4100, range{guest_address{8 * KiB}, guest_address{4 * KiB - 1}});
  const auto told = one.report(element);
  CHECK(told.requested == ~std::uint64_t{0});
  CHECK(told.not_ram == told.requested);
  auto and_memory = element;
  and_memory.push_back(bytes(16 * MiB, 4 * KiB));
  const auto full = one.report(and_memory);
  CHECK(full.requested == ~std::uint64_t{0});
  CHECK(full.not_ram == full.requested);
  CHECK(one.gone() == 0);
}

TEST_CASE("a range is cut so that no permit covers more than 64 MiB") {
  auto ram = ram_block::allocate<faulty_kernel>("ram", 130 * MiB).value();
  address_space guest;
  discard_gate<> gate;
  page_reporting reporting{guest, gate};
  REQUIRE(guest.place(region::ram(ram), guest_address{0}));
  for (const std::uint64_t at : {std::uint64_t{0}, 64 * MiB - frame, 64 * MiB, 130 * MiB - frame})
    tether_test::mark(ram, at);
  const auto told = reporting.report(std::array{bytes(0, 130 * MiB)});
  CHECK(told.discarded == 130 * MiB / frame);
  CHECK(told.calls == 3);
  for (const std::uint64_t at : {std::uint64_t{0}, 64 * MiB - frame, 64 * MiB, 130 * MiB - frame})
    CHECK(tether_test::went(ram, at));
}

TEST_CASE("no permit covers more than 64 MiB, or 512 ranges, of an element") {
  auto ram = ram_block::allocate<takes_ranges>("ram", 200 * MiB).value();
  address_space guest;
  discard_gate<> gate;
  page_reporting reporting{guest, gate};
  REQUIRE(guest.place(region::ram(ram), guest_address{0}));
  takes_ranges::reset();
  std::vector<range> element;
  // 24 MiB, of which two and most of a third fit; then 8 MiB behind the rest of that
  for (std::uint64_t at = 0; at != 5; ++at) element.push_back(bytes(30 * at * MiB, 24 * MiB));
  element.push_back(bytes(150 * MiB, 8 * MiB));
  auto told = reporting.report(element);
  CHECK(told.discarded == 128 * MiB / frame);
  CHECK(takes_ranges::ranges == std::vector<std::size_t>{3, 4});

  takes_ranges::reset();
  element.clear();
  for (std::uint64_t at = 0; at != 1100; ++at) element.push_back(bytes(2 * at * frame, frame));
  told = reporting.report(element);
  CHECK(told.discarded == 1100);
  CHECK(takes_ranges::ranges == std::vector<std::size_t>{512, 512, 76});
}

TEST_CASE("on larger host pages a range goes if it is whole host pages, and stays if not") {
  auto plain = ram_block::allocate("plain", 512 * KiB).value();
  const std::uint64_t base = round_up(plain.host().value, 64 * KiB);
  auto ram = ram_block::borrow<faulty_kernel>("ram", host_address{base}, 256 * KiB,
                                              memory_kind::private_anonymous, 64 * KiB)
                 .value();
  address_space guest;
  discard_gate<> gate;
  page_reporting reporting{guest, gate};
  REQUIRE(guest.place(region::ram(ram), guest_address{0}));
  tether_test::mark_all(ram);

  CHECK(reporting.report(std::array{bytes(0, 60 * KiB)}).partial == 15);
  CHECK(reporting.report(std::array{bytes(4 * KiB, 64 * KiB)}).partial == 16);
  CHECK(tether_test::count(ram).gone == 0);
  CHECK(reporting.report(std::array{bytes(64 * KiB, 128 * KiB)}).discarded == 32);
  CHECK(tether_test::count(ram).gone == 32);
}

TEST_CASE("a refused discard of a range is reported, and the next range goes on") {
  small_guest<> one;
  discard_report told;
  {
    const injected_fault fault{1, EIO, false, 2};  // of both together, and of the first alone
    told = one.reporting.report(std::array{bytes(16 * MiB, 64 * KiB), bytes(17 * MiB, 64 * KiB)});
    CHECK(fault.fired());
  }
  CHECK(told.adds_up());
  CHECK(told.errors == 16);
  CHECK(told.discarded == 16);
  REQUIRE(told.first_error);
  CHECK(told.first_error->is_errno(EIO));
  CHECK(tether_test::is_marked(one.ram, 0));
  CHECK(tether_test::went(one.ram, 1 * MiB));
}

}  // namespace runtime_discard_page_reporting
