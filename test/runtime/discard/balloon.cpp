// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/balloon.hpp>

#include <support/counted_memory.hpp>
#include <support/faulty_kernel.hpp>
#include <support/guest_ram.hpp>
#include <support/larger_pool.hpp>
#include <support/range_kernel.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

namespace runtime_discard_balloon {

using namespace tether;
using tether_test::frame;
using tether_test::frames_down;
using tether_test::frames_up;
using tether_test::counts;

namespace {

constexpr std::uint32_t ram_frame = 0x1000;  // the memory lies at 16 MiB

/// A guest with one block at 16 MiB.
struct small_guest {
  ram_block ram;
  address_space guest;
  discard_gate<> gate;
  balloon<> device;

  explicit small_guest(ram_block block, balloon_options options = {})
      : ram{std::move(block)}, device{guest, gate, options} {
    REQUIRE(guest.place(region::ram(ram), frame_address(ram_frame)));
    tether_test::mark_all(ram);
    faulty_kernel::reset();
  }
  explicit small_guest(std::uint64_t size = 4 * MiB)
      : small_guest{ram_block::allocate<faulty_kernel>("ram", size).value()} {}

  /// Frame numbers counted from the block's first.
  discard_report inflate(std::vector<std::uint32_t> frames) {
    for (auto& one : frames) one += ram_frame;
    auto told = device.inflate(frames);
    CHECK(told.adds_up());
    CHECK(told.requested == frames.size());
    return told;
  }
  discard_report deflate(std::vector<std::uint32_t> frames) {
    for (auto& one : frames) one += ram_frame;
    auto told = device.deflate(frames);
    CHECK(told.adds_up());
    return told;
  }
  [[nodiscard]] std::uint64_t gone() const { return tether_test::count(ram).gone; }
};

/// Memory that says its pages are larger than they are: every host has some.
struct large_paged {
  ram_block plain;
  ram_block ram;

  explicit large_paged(std::uint64_t page = 64 * KiB, std::uint64_t size = 1 * MiB)
      : plain{ram_block::allocate("plain", size + page).value()},
        ram{ram_block::borrow<faulty_kernel>("large",
                                             host_address{round_up(plain.host().value, page)}, size,
                                             memory_kind::private_anonymous, page)
                .value()} {}
};

struct large_guest : large_paged, small_guest {
  explicit large_guest(bool must_tell_host, std::uint64_t page = 64 * KiB,
                       std::uint64_t size = 1 * MiB)
      : large_paged{page, size},
        small_guest{std::move(large_paged::ram), {.must_tell_host = must_tell_host}} {}
};

}  // namespace

TEST_CASE("a frame that the guest gives goes back to the host, and its neighbours stay") {
  for (const auto kind : {memory_kind::private_anonymous, memory_kind::shared}) {
    small_guest one{ram_block::allocate<faulty_kernel>("ram", 1 * MiB, kind).value()};
    const auto told = one.inflate({7});
    CHECK(told.discarded == 1);
    CHECK(told.calls == 1);
    CHECK(tether_test::went(one.ram, 7 * frame));
    CHECK(tether_test::count(one.ram) == counts{255, 1});
  }
}

TEST_CASE("a huge page goes when all its frames were given, and not before") {
  const tether_test::larger_pool pool{2};
  auto block = ram_block::allocate<faulty_kernel>("huge", 4 * MiB, memory_kind::hugetlb);
  if (!block) return tether_test::skip_because("no huge pages: " + block.error().sentence());
  small_guest one{std::move(*block), {.must_tell_host = true}};
  if (one.ram.page_size() != 2 * MiB)
    return tether_test::skip_because("the default huge page is not 2 MiB here");
  CHECK(one.inflate(frames_down(1, 511)).partial == 511);
  CHECK(one.gone() == 0);
  const auto last = one.inflate({0});
  CHECK(last.discarded == 1);
  CHECK(last.completed == 511);
  CHECK(tether_test::count(one.ram) == counts{512, 512});
  CHECK(tether_test::went(one.ram, 0));
}

TEST_CASE("neighbouring frames go in one call, counted up, counted down, or shuffled") {
  std::mt19937_64 random{22};
  for (int order = 0; order < 3; ++order) {
    small_guest one;
    auto frames = order == 0 ? frames_up(100, 256) : frames_down(100, 256);
    if (order == 2) std::ranges::shuffle(frames, random);
    const auto told = one.inflate(frames);
    CHECK(told.discarded == 256);
    CHECK(told.calls == 1);
    CHECK(faulty_kernel::calls_of(kernel_call::madvise) == 1);
    CHECK(one.gone() == 256);
  }
}

TEST_CASE("a request larger than one permit makes one call a permit") {
  small_guest one{8 * MiB};
  CHECK(one.inflate(frames_down(0, 3 * balloon<>::frames_per_permit + 1)).calls == 4);
  CHECK(one.gone() == 3 * balloon<>::frames_per_permit + 1);
}

/// The runs of neighbours under each permit of a request.
std::vector<std::uint64_t> runs_of_permits(std::vector<std::uint32_t> const& frames) {
  std::vector<std::uint64_t> all;
  for (std::size_t begin = 0; begin < frames.size(); begin += balloon<>::frames_per_permit) {
    const auto end = std::min(begin + balloon<>::frames_per_permit, frames.size());
    const std::set<std::uint32_t> some{frames.begin() + static_cast<std::ptrdiff_t>(begin),
                                       frames.begin() + static_cast<std::ptrdiff_t>(end)};
    all.push_back(0);
    for (const auto number : some) all.back() += some.contains(number - 1) ? 0U : 1U;
  }
  return all;
}

/// Requests of P frames in R runs, in whatever order. Where the kernel takes many ranges, a permit
/// makes one call; where it does not, one a run, and the first with several runs one that is denied.
TEST_CASE_TEMPLATE("the system calls of a request are known exactly", Kernel,
                   tether_test::takes_ranges, tether_test::takes_no_ranges) {
  constexpr std::uint64_t most = 2048;
  small_guest one{ram_block::allocate<Kernel>("ram", most * frame).value()};
  Kernel::reset();
  std::mt19937_64 random{23};
  std::uint64_t denied = 0;
  for (int round = 0; round < 40; ++round) {
    const std::uint64_t stride = 1 + random() % 4;
    std::vector<std::uint32_t> frames;
    for (std::uint64_t number = random() % 8; number < most; ++number)
      if (number % stride == 0 || random() % 5 == 0)
        frames.push_back(static_cast<std::uint32_t>(number));
    frames.resize(std::min<std::size_t>(frames.size(), 1 + random() % frames.size()));
    if (round % 4 == 1) std::ranges::reverse(frames);
    if (round % 4 == 2) std::ranges::shuffle(frames, random);
    const auto runs = runs_of_permits(frames);
    const auto vectored_before = Kernel::vectored;
    const auto single_before = Kernel::single;
    const auto told = one.inflate(frames);
    std::uint64_t vectored = 0;
    std::uint64_t single = 0;
    for (const auto some : runs) {
      const bool together = some > 1 && std::is_same_v<Kernel, tether_test::takes_ranges>;
      (together ? vectored : single) += together ? 1 : some;
      if (some > 1 && !together && denied == 0) vectored += 1, denied = 1;
    }
    CAPTURE(round);
    CHECK(Kernel::vectored - vectored_before == vectored);
    CHECK(Kernel::single - single_before == single);
    CHECK(told.calls == vectored + single);
    CHECK(told.discarded == frames.size());
  }
}

TEST_CASE(
    "a request is read as the queue carries it: little-endian, at any alignment, a torn number "
    "ignored") {
  small_guest one;
  const std::array<unsigned char, 12> queue{0xff, 0x03, 0x10, 0x00, 0x00, 0x07,
                                            0x10, 0x00, 0x00, 0x09, 0x10, 0x00};
  const auto bytes = std::as_bytes(std::span{queue}).subspan(1);
  const auto told = one.device.inflate(bytes);
  CHECK(told.requested == 2);
  CHECK(told.discarded == 2);
  CHECK(tether_test::went(one.ram, 3 * frame));
  CHECK(tether_test::went(one.ram, 7 * frame));
  CHECK(one.gone() == 2);
  CHECK(one.device.deflate(bytes).returned == 2);
  CHECK(one.device.inflate(std::span<std::byte const>{}).requested == 0);
}

TEST_CASE("inhibited frames are acknowledged and counted, and never made up for later") {
  small_guest one;
  {
    const auto hold = one.gate.hold(hold_kind::uncoordinated, "group 12");
    REQUIRE(hold);
    const auto told = one.inflate(frames_up(0, 600));
    CHECK(told.inhibited == 600);
    // units could go, if this driver told before it used a page again, and there were some
    REQUIRE(told.advice != nullptr);
    CHECK(std::string_view{told.advice}.find("must_tell_host") != std::string_view::npos);
    balloon careful{one.guest, one.gate, {.must_tell_host = true}};
    const auto undivided = careful.inflate(std::vector<std::uint32_t>(600, ram_frame));
    CHECK(undivided.inhibited == 600);
    REQUIRE(undivided.advice != nullptr);
    CHECK(std::string_view{undivided.advice}.find("divide this memory") != std::string_view::npos);
  }
  {
    const auto hold = one.gate.hold(hold_kind::any, "group 12");
    REQUIRE(hold);
    const auto told = one.inflate(frames_up(0, 16));
    CHECK(told.inhibited == 16);
    CHECK(told.advice == nullptr);  // nothing could go
  }
  {
    const auto migration = one.gate.suspend("migration");
    CHECK(one.inflate(frames_up(0, 16)).inhibited == 16);
  }
  CHECK(faulty_kernel::calls() == 0);
  CHECK(one.inflate({900}).discarded == 1);
  CHECK(one.gone() == 1);
  CHECK(faulty_kernel::calls() == 1);
}

TEST_CASE("who requires discards does not disturb the balloon") {
  small_guest one;
  const auto needs = one.gate.require(requirement_kind::coordinated, "virtio-mem");
  REQUIRE(needs);
  CHECK(one.inflate({1, 2}).discarded == 2);
}

TEST_CASE(
    "frames of registers, firmware, bars and of nothing are counted and skipped, and the rest goes "
    "on") {
  auto firmware = ram_block::allocate("firmware", 64 * KiB).value();
  auto bar = ram_block::allocate("bar", 64 * KiB).value();
  tether_test::mark_all(firmware);
  tether_test::mark_all(bar);
  small_guest one{1 * MiB};
  REQUIRE(one.guest.place(region::rom(firmware), guest_address{0}));
  REQUIRE(one.guest.place(region::ram_device(bar), guest_address{1 * MiB}));
  REQUIRE(one.guest.place(region::mmio("registers", 4 * KiB), frame_address(ram_frame + 5), 1));
  REQUIRE(one.guest.place(region::ram(firmware).read_only(), guest_address{2 * MiB}));

  const std::vector<std::uint32_t> frames{
      0, ram_frame + 4, 256, ram_frame + 5, 512, ram_frame + 6, 0xffffffff, ram_frame + 256, 0x900};
  const auto told = one.device.inflate(frames);
  CHECK(told.adds_up());
  CHECK(told.not_ram == 7);
  CHECK(told.discarded == 2);
  CHECK(tether_test::count(one.ram) == counts{254, 2});
  // behind the registers, where the guest cannot see it
  CHECK(tether_test::is_marked(one.ram, 5 * frame));
  CHECK(tether_test::count(firmware).gone == 0);
  CHECK(tether_test::count(bar).gone == 0);
}

TEST_CASE("frame 0x80000000 lies at 8 TiB, and not where sign extension would put it") {
  auto ram = ram_block::allocate("far", 4 * KiB).value();
  auto wrong = ram_block::allocate("wrong", 4 * KiB).value();
  tether_test::mark_all(ram);
  tether_test::mark_all(wrong);
  address_space guest;
  discard_gate<> gate;
  balloon device{guest, gate};
  REQUIRE(guest.place(region::ram(ram), guest_address{std::uint64_t{1} << 43}));
  REQUIRE(guest.place(region::ram(wrong), guest_address{0xfffff80000000000}));
  CHECK(device.inflate(std::array<std::uint32_t, 1>{0x80000000}).discarded == 1);
  CHECK(tether_test::went(ram, 0));
  CHECK(tether_test::is_marked(wrong, 0));
}

TEST_CASE("a frame that lies across two host pages, or across a section's end, goes nowhere") {
  auto ram = ram_block::allocate("ram", 64 * KiB).value();
  tether_test::mark_all(ram);
  address_space guest;
  discard_gate<> gate;
  balloon device{guest, gate};
  REQUIRE(guest.place(region::ram(ram), guest_address{0x800}));
  const auto told = device.inflate(std::array<std::uint32_t, 3>{0, 1, 16});
  CHECK(told.not_ram == 2);
  CHECK(told.partial == 1);
  CHECK(tether_test::count(ram).gone == 0);
}

TEST_CASE(
    "larger host pages: fifteen of sixteen frames discard nothing, the sixteenth discards once") {
  large_guest one{false};
  CHECK(one.inflate(frames_up(0, 15)).partial == 15);
  CHECK(one.gone() == 0);
  const auto told = one.inflate(frames_down(16, 16));
  CHECK(told.discarded == 16);
  CHECK(told.partial == 0);
  CHECK(told.calls == 1);
  CHECK(tether_test::count(one.small_guest::ram) == counts{240, 16});
  CHECK(tether_test::went(one.small_guest::ram, 64 * KiB));
}

TEST_CASE(
    "larger host pages: two that are given in turn are each complete with their own last frame") {
  large_guest one{false};
  std::vector<std::uint32_t> frames;
  for (std::uint32_t i = 0; i < 16; ++i) {
    frames.push_back(i);
    if (i != 9) frames.push_back(32 + i);
  }
  const auto told = one.inflate(frames);
  CHECK(told.discarded == 16);
  CHECK(told.partial == 15);
  CHECK(one.gone() == 16);
  CHECK(tether_test::is_marked(one.small_guest::ram, 32 * frame));
}

TEST_CASE(
    "larger host pages: frames of two requests make a page only if the guest promised to tell "
    "before it reuses one") {
  SUBCASE("not promised: the first half may be in use again") {
    large_guest one{false};
    CHECK(one.inflate(frames_up(0, 8)).partial == 8);
    CHECK(one.inflate(frames_up(8, 8)).partial == 8);
    CHECK(one.gone() == 0);
  }
  SUBCASE("promised") {
    large_guest one{true};
    CHECK(one.inflate(frames_up(0, 8)).partial == 8);
    const auto told = one.inflate(frames_up(8, 8));
    CHECK(told.discarded == 8);
    CHECK(told.completed == 8);
    CHECK(one.gone() == 16);
  }
}

TEST_CASE("larger host pages: a frame that was taken back keeps its page") {
  large_guest one{true};
  one.inflate(frames_up(0, 15));
  CHECK(one.deflate({3}).returned == 1);
  CHECK(one.inflate({15}).partial == 1);
  CHECK(one.gone() == 0);
  const auto told = one.inflate({3});
  CHECK(told.discarded == 1);
  CHECK(told.completed == 15);
  CHECK(one.gone() == 16);

  // Gone, then one frame is in use again, then not any more: it may go again, but only then.
  tether_test::mark(one.small_guest::ram, 3 * frame);
  one.deflate({3});
  CHECK(one.inflate({4}).partial == 1);
  CHECK(tether_test::is_marked(one.small_guest::ram, 3 * frame));
  const auto again = one.inflate({3});
  CHECK(again.discarded == 1);
  CHECK(again.completed == 15);
  CHECK(tether_test::went(one.small_guest::ram, 3 * frame));
}

TEST_CASE("larger host pages: what was inhibited does not count towards a page, before or after") {
  large_guest one{true};
  one.inflate(frames_up(0, 8));
  {
    const auto hold = one.gate.hold(hold_kind::uncoordinated, "group 12");
    REQUIRE(hold);
    CHECK(one.inflate(frames_up(8, 4)).inhibited == 4);
  }
  CHECK(one.inflate(frames_up(12, 4)).partial == 4);
  CHECK(one.gone() == 0);
  CHECK(one.inflate(frames_up(8, 4)).completed == 12);
  CHECK(one.gone() == 16);
}

TEST_CASE("larger host pages: a reset forgets what was gathered") {
  large_guest one{true};
  one.inflate(frames_up(0, 15));
  one.device.reset();
  CHECK(one.inflate({15}).partial == 1);
  CHECK(one.gone() == 0);
}

TEST_CASE("larger host pages: frames named twice complete nothing, and are counted twice") {
  large_guest one{false};
  std::vector<std::uint32_t> frames(16, 4);
  CHECK(one.inflate(frames).partial == 16);
  CHECK(one.gone() == 0);
  frames = frames_up(0, 16);
  frames.insert(frames.begin(), 5, 0);
  frames.insert(frames.end(), 700, 3);  // in this permit, and in the next
  const auto told = one.inflate(frames);
  CHECK(told.discarded == frames.size());
  CHECK(told.calls == 1);
  CHECK(one.gone() == 16);
}

TEST_CASE(
    "larger host pages: a page may be completed by several permits of one request, and neighbours "
    "go in one call") {
  large_guest one{false, 2 * MiB, 8 * MiB};
  // From frame 100 on, so that no permit's 512 frames are a host page's.
  const auto told = one.inflate(frames_up(100, 1500));
  CHECK(told.discarded == 1024);
  CHECK(told.partial == 1500 - 1024);
  CHECK(told.calls == 2);
  CHECK(one.gone() == 1024);

  large_guest small_pages{false};
  CHECK(small_pages.inflate(frames_down(0, 256)).calls == 1);
  CHECK(small_pages.gone() == 256);
}

TEST_CASE("larger host pages: one memory seen at two guest addresses gathers in one place") {
  large_guest one{true};
  const std::uint32_t alias = 0x8000;
  REQUIRE(one.guest.place(region::ram(one.small_guest::ram), frame_address(alias)));
  CHECK(one.inflate(frames_up(0, 15)).partial == 15);
  const auto told = one.device.inflate(std::array<std::uint32_t, 1>{alias + 15});
  CHECK(told.discarded == 1);
  CHECK(told.completed == 15);
  CHECK(one.gone() == 16);
}

TEST_CASE(
    "larger host pages: frames of memory that was unplugged complete no page of what was plugged "
    "in after it") {
  large_paged first;
  large_paged second;
  address_space guest;
  discard_gate<> gate;
  balloon device{guest, gate, {.must_tell_host = true}};
  auto id = guest.place(region::ram(first.ram), frame_address(ram_frame));
  REQUIRE(id);
  CHECK(device.inflate(frames_up(ram_frame, 15)).partial == 15);
  REQUIRE(guest.remove(*id));
  REQUIRE(first.ram.free());  // a note about its frames must not keep it
  // Often at the very address where the first one's bookkeeping lay.
  constexpr auto kind = memory_kind::private_anonymous;
  auto again = ram_block::borrow<faulty_kernel>("again", second.ram.host(), second.ram.size(), kind,
                                                64 * KiB)
                   .value();
  tether_test::mark_all(again);
  id = guest.place(region::ram(again), frame_address(ram_frame));
  REQUIRE(id);
  CHECK(device.inflate(std::array<std::uint32_t, 1>{ram_frame + 15}).partial == 1);
  CHECK(tether_test::count(again).gone == 0);
  REQUIRE(guest.remove(*id));
}

TEST_CASE(
    "where there is no memory to note a part of a page it is an error of that frame, and nothing "
    "is thrown") {
  auto plain = ram_block::allocate("plain", 64 * KiB).value();
  tether_test::mark_all(plain);
  large_paged memory;
  small_guest one{std::move(memory.ram),
                  {.must_tell_host = true, .memory = std::pmr::null_memory_resource()}};
  REQUIRE(one.guest.place(region::ram(plain), guest_address{0}));
  const auto told = one.device.inflate(std::array<std::uint32_t, 3>{ram_frame, 2, ram_frame + 1});
  CHECK(told.adds_up());
  CHECK(told.errors == 2);
  CHECK(told.discarded == 1);
  REQUIRE(told.first_error);
  CHECK(told.first_error->code() == std::errc::not_enough_memory);
  CHECK(told.first_error->sentence().find("guest physical [0x1000000, 0x1000fff]") !=
        std::string::npos);
  CHECK(tether_test::went(plain, 2 * frame));
  CHECK(one.gone() == 0);
}

TEST_CASE_TEMPLATE(
    "the n-th call of a request fails: its frames are errors, all others go, and memory is as the "
    "report says",
    Kernel, tether_test::takes_ranges, tether_test::takes_no_ranges) {
  constexpr bool vectored = std::is_same_v<Kernel, tether_test::takes_ranges>;
  for (std::uint64_t n = 1;; ++n) {
    small_guest one{ram_block::allocate<Kernel>("ram", 4 * MiB).value()};
    Kernel::reset();
    std::vector<std::uint32_t> frames{frames_down(0, 8)};
    for (const std::uint32_t lone : {20u, 40u, 600u}) frames.push_back(lone);
    const injected_fault fault{n, ENOMEM};
    const auto told = one.inflate(frames);
    CAPTURE(n);
    if (!fault.fired()) {
      CHECK(n == (vectored ? 2 : 6));
      CHECK(told.errors == 0);
      break;
    }
    CHECK(told.discarded + told.errors == frames.size());
    // All in one are tried run by run, and a run that is refused page by page.
    CHECK(told.errors == (n <= 2 ? 0 : 1));
    CHECK(one.gone() == told.discarded);
  }
}

TEST_CASE("a refused discard of a complete page leaves it complete: the next frame tries again") {
  large_guest one{true};
  {
    const injected_fault fault{1, EAGAIN};
    const auto told = one.inflate(frames_up(0, 16));
    CHECK(told.errors == 1);
    CHECK(told.partial == 15);
    CHECK(one.gone() == 0);
  }
  const auto told = one.inflate({15});
  CHECK(told.discarded == 1);
  CHECK(told.completed == 15);
  CHECK(one.gone() == 16);
}

TEST_CASE(
    "no frame that the guest uses is ever lost, and a page whose frames were all given is always "
    "gone") {
  struct setting {
    std::uint64_t page;
    bool must_tell_host;
  };
  for (const setting how : {setting{4 * KiB, false}, setting{16 * KiB, false},
                            setting{16 * KiB, true}, setting{64 * KiB, true}}) {
    large_paged memory{how.page, 256 * KiB};
    small_guest one{std::move(memory.ram), {.must_tell_host = how.must_tell_host}};
    std::vector<bool> in_use(64, true);
    std::mt19937_64 random{how.page + how.must_tell_host};
    CAPTURE(how.page);
    CAPTURE(how.must_tell_host);
    for (int step = 0; step < 400; ++step) {
      // Few host pages at a time, so that some become complete.
      std::vector<std::uint32_t> frames;
      const auto first = static_cast<std::uint32_t>(random() % 64);
      for (std::uint32_t i = 0; i < 24; ++i) {
        const std::uint32_t number = (first + i) % 64;
        if (random() % 8 != 0) frames.push_back(number);
      }
      std::ranges::shuffle(frames, random);
      const bool mark_free = random() % 3 != 0;
      if (mark_free) {
        for (const auto number : frames) in_use[number] = false;
        one.inflate(frames);
        if (how.must_tell_host) {
          const std::uint64_t frames_a_page = how.page / frame;
          for (std::uint64_t page = 0; page < 64 / frames_a_page; ++page) {
            bool all_given = true;
            for (std::uint64_t i = 0; i < frames_a_page; ++i)
              all_given = all_given && !in_use[page * frames_a_page + i];
            if (all_given) REQUIRE(tether_test::went(one.ram, page * how.page));
          }
        }
      }
      // Without the promise the guest takes any frame back without a word.
      for (const auto number : frames) {
        if (mark_free && how.must_tell_host) break;
        if (mark_free && random() % 2 == 0) continue;
        if (how.must_tell_host) one.deflate({number});
        tether_test::mark(one.ram, number * frame);
        in_use[number] = true;
      }
      for (std::uint64_t number = 0; number < 64; ++number) {
        if (in_use[number]) REQUIRE(tether_test::is_marked(one.ram, number * frame));
      }
    }
  }
}

TEST_CASE("once a hold is taken no discard runs, whatever other threads ask for") {
  small_guest one{1 * MiB};
  const auto frames = frames_up(ram_frame, 128);
  std::atomic<bool> enough{false};
  std::vector<discard_report> told(2);
  std::vector<std::thread> guests;
  for (auto& mine : told) {
    guests.emplace_back([&] {
      while (!enough) mine += one.device.inflate(frames);
    });
  }
  for (int round = 0; round < 200; ++round) {
    const auto hold = one.gate.hold(hold_kind::any, "group 12");
    const auto before = faulty_kernel::calls();
    for (int i = 0; i < 1000; ++i) {
      if (faulty_kernel::calls() != before) break;
    }
    CHECK(hold.has_value());
    CHECK(faulty_kernel::calls() == before);
  }
  enough = true;
  for (auto& thread : guests) thread.join();
  for (auto const& mine : told) {
    CHECK(mine.adds_up());
    CHECK(mine.discarded + mine.inhibited == mine.requested);
  }
}

TEST_CASE("memory that is unplugged while it is ballooned is not freed under the discard") {
  large_paged fixed;
  small_guest one{std::move(fixed.ram), {.must_tell_host = true}};
  const std::uint32_t slot = 0x4000;
  std::atomic<bool> enough{false};
  std::thread guest_thread{[&] {
    const auto frames = frames_down(slot, 64);
    while (!enough) {
      const auto told = one.device.inflate(frames);
      if (!told.adds_up() || told.discarded + told.not_ram != told.requested) break;
      one.device.deflate(frames);
    }
  }};
  for (int round = 0; round < 100; ++round) {
    auto block = ram_block::allocate<faulty_kernel>("dimm", 256 * KiB).value();
    const auto id = one.guest.place(region::ram(block), frame_address(slot));
    CHECK(id.has_value());
    CHECK(one.guest.remove(*id).has_value());
    while (!block.free()) std::this_thread::yield();  // a reader's view may still mention it
  }
  CHECK_FALSE(enough);
  enough = true;
  guest_thread.join();
}

namespace {

/// Memory for the balloon's notes that sees whether two threads are in there at once, and gives the
/// other every chance.
class watched_memory final : public std::pmr::memory_resource {
 public:
  std::atomic<int> inside{0};
  std::atomic<bool> overlapped{false};

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    if (inside.fetch_add(1) != 0) overlapped = true;
    for (int turn = 0; turn < 2; ++turn) std::this_thread::yield();
    inside.fetch_sub(1);
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* at, std::size_t bytes, std::size_t alignment) override {
    std::pmr::new_delete_resource()->deallocate(at, bytes, alignment);
  }
  bool do_is_equal(std::pmr::memory_resource const& other) const noexcept override {
    return this == &other;
  }
};

}  // namespace

TEST_CASE(
    "two threads that fill the same host pages discard each when it is complete, and note it one "
    "at a time") {
  watched_memory notes;
  large_paged memory;
  small_guest one{std::move(memory.ram), {.must_tell_host = true, .memory = &notes}};
  for (int round = 0; round < 20; ++round) {
    tether_test::mark_all(one.ram);
    std::array<discard_report, 2> told{};
    std::atomic<int> ready{0};
    const auto give_every_second = [&](std::uint32_t from) {
      ready += 1;
      while (ready < 2) std::this_thread::yield();
      for (std::uint32_t number = from; number < 16; number += 2) {
        std::vector<std::uint32_t> one_of_each_page;
        for (std::uint32_t page = 0; page < 16; ++page)
          one_of_each_page.push_back(ram_frame + 16 * page + number);
        told[from] += one.device.inflate(one_of_each_page);
      }
    };
    std::thread other{[&] { give_every_second(1); }};
    give_every_second(0);
    other.join();
    const auto both = told[0] + told[1];
    CHECK(both.adds_up());
    CHECK(both.requested == 256);
    CHECK(both.discarded + both.completed == 256);
    CHECK(one.gone() == 256);
    CHECK(one.deflate(frames_up(0, 256)).returned == 256);
  }
  CHECK_FALSE(notes.overlapped);
}

TEST_CASE("a frame that is deflated where nothing can be inflated changes nothing, and says so") {
  auto registers = ram_block::allocate("BAR", 64 * KiB).value();
  auto bar = ram_block::borrow("BAR", registers.host(), 64 * KiB, memory_kind::device).value();
  large_guest one{true};
  constexpr std::uint32_t elsewhere = 0x8000;
  REQUIRE(one.guest.place(region::ram_device(bar), frame_address(elsewhere)));
  REQUIRE(one.guest.place(region::mmio("uart", 64 * KiB), frame_address(elsewhere + 16)));
  REQUIRE(one.guest.place(region::iommu_window("viommu", 64 * KiB), frame_address(elsewhere + 32)));
  CHECK(one.inflate(frames_up(0, 15)).partial == 15);
  for (const std::uint32_t at :
       {elsewhere, elsewhere + 16, elsewhere + 32, elsewhere + 48, 0U, ~std::uint32_t{0}}) {
    CAPTURE(at);
    const auto told = one.device.deflate(std::array{at});
    CHECK(told.not_ram == 1);
    CHECK(told.adds_up());
    CHECK(told.errors + told.returned == 0);
  }
  CHECK(one.inflate({15}).completed == 15);
  CHECK(one.gone() == 16);
  // Memory that registers hide is not in use there; and once hidden, its frames start anew.
  CHECK(one.inflate(frames_up(16, 15)).partial == 15);
  const auto overlay =
      one.guest.place(region::mmio("hides", 4 * KiB), frame_address(ram_frame + 20), 1);
  REQUIRE(overlay);
  CHECK(one.deflate({20}).not_ram == 1);
  REQUIRE(one.guest.remove(*overlay));
  CHECK(one.inflate({31}).partial == 1);
  CHECK(one.gone() == 16);
}

TEST_CASE("the notes of 4 GiB of inflated memory with pages of 64 KiB take a bit a frame") {
  constexpr std::uint64_t bytes = 4 * 1024 * MiB;
  constexpr std::uint32_t frames = bytes / frame_size;
  auto ram = ram_block::allocate("ram", bytes, memory_kind::private_anonymous, 64 * KiB).value();
  address_space guest;
  REQUIRE(guest.place(region::ram(ram), guest_address{0}));
  discard_gate<> gate;
  const auto inflate_all = [&](balloon<multi_threaded>& device, std::uint32_t at_once) {
    discard_report all;
    std::vector<std::uint32_t> request;
    for (std::uint32_t next = 0; next < frames;) {
      request.clear();
      for (const auto end = std::min(next + at_once, frames); next < end; ++next)
        request.push_back(next);
      all += device.inflate(request);
    }
    return all;
  };
  // As Linux's balloon asks, and all of it in one request.
  for (const std::uint32_t at_once : {256U, frames}) {
    for (const bool must_tell_host : {true, false}) {
      CAPTURE(at_once);
      CAPTURE(must_tell_host);
      tether_test::counted_memory notes;
      {
        balloon device{guest, gate, {.must_tell_host = must_tell_host, .memory = &notes}};
        const auto told = inflate_all(device, at_once);
        CHECK(told.adds_up());
        CHECK(told.discarded == frames);
        // and half a bit for what holds the bits, which pages were discarded, and the request
        CHECK(notes.most <= frames / 8 * 3 / 2 + 32 * KiB);
        if (must_tell_host) CHECK(notes.now >= frames / 8);
        else CHECK(notes.now == 0);
      }
      CHECK(notes.now == 0);
    }
  }
}

TEST_CASE("notes of a lone frame here and there take no more than those of all frames") {
  constexpr std::uint64_t bytes = 4 * 1024 * MiB;
  constexpr std::uint32_t frames = bytes / frame_size;
  auto ram = ram_block::allocate("ram", bytes, memory_kind::private_anonymous, 64 * KiB).value();
  address_space guest;
  REQUIRE(guest.place(region::ram(ram), guest_address{0}));
  discard_gate<> gate;
  tether_test::counted_memory notes;
  balloon device{guest, gate, {.must_tell_host = true, .memory = &notes}};
  for (std::uint32_t one = 0; one < frames; one += 16)
    REQUIRE(device.inflate(std::array{one}).partial == 1);
  CHECK(notes.now <= frames / 8 * 3 / 2);
  for (std::uint32_t one = 0; one < frames; one += 16)
    REQUIRE(device.deflate(std::array{one}).returned == 1);
  CHECK(notes.now == 0);
}

namespace {

/// A VMM's own big lock.
struct big_lock {
  static bool is_held() noexcept { return held; }
  static inline bool held = false;
};

}  // namespace

TEST_CASE_TEMPLATE("the balloon takes its threading from the gate", Threading, single_threaded,
                   multi_threaded, externally_serialised<big_lock>) {
  big_lock::held = true;
  {
    auto ram = ram_block::allocate("ram", 64 * KiB).value();
    tether_test::mark_all(ram);
    address_space guest;
    discard_gate<Threading> gate;
    balloon device{guest, gate};
    static_assert(std::is_same_v<decltype(device), balloon<Threading>>);
    REQUIRE(guest.place(region::ram(ram), guest_address{0}));
    CHECK(device.inflate(frames_up(0, 4)).discarded == 4);
    {
      const auto hold = gate.hold(hold_kind::uncoordinated, "group 12");
      REQUIRE(hold);
      CHECK(device.inflate(frames_up(4, 4)).inhibited == 4);
    }
    CHECK(device.deflate(frames_up(0, 4)).returned == 4);
    CHECK(tether_test::count(ram) == counts{12, 4});
  }
  big_lock::held = false;
}

}  // namespace runtime_discard_balloon
