// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/io_uring/ring.hpp>

#include <support/faulty_kernel.hpp>
#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <unistd.h>

namespace runtime_backend_io_uring_ring {

using namespace tether;
using namespace tether::detail;
using tether_test::host_memory;
using tether_test::pinned_by_the_kernel;

namespace {

/// Linux, but each *wait* of a ring first asks the test, which may act or answer in Linux's place.
struct waited_for_kernel : linux_kernel {
  static inline std::function<std::optional<answer>()> at_wait;
  static inline std::function<std::optional<answer>(long flags)> at_flagged_wait;

  template <class... Arguments>
  static answer call(long number, Arguments... arguments) noexcept {
    if constexpr (sizeof...(Arguments) == 6) {
      if (number == SYS_io_uring_enter && std::get<2>(std::tuple{arguments...}) > 0 && at_wait) {
        if (const auto instead = at_wait()) return *instead;
      }
      const std::tuple all{arguments...};
      if (number == SYS_io_uring_enter && std::get<2>(all) > 0 && at_flagged_wait) {
        if (const auto instead = at_flagged_wait(std::get<3>(all))) return *instead;
      }
    }
    return linux_kernel::call(number, arguments...);
  }
};

/// Linux, but it refuses the next calls that set up a ring or fill a slot, for want of memory.
struct short_of_memory_kernel : linux_kernel {
  static inline std::uint64_t refusals = 0;
  static inline std::uint64_t asked = 0;

  template <class... Arguments>
  static answer call(long number, Arguments... arguments) noexcept {
    const std::tuple all{arguments...};
    bool may_refuse = number == SYS_io_uring_setup;
    if constexpr (std::is_same_v<std::tuple<Arguments...>, std::tuple<long, long, void*, long>>)
      may_refuse = std::get<1>(all) == IORING_REGISTER_BUFFERS_UPDATE;
    if (may_refuse) {
      ++asked;
      if (refusals != 0) return --refusals, -ENOMEM;
    }
    return linux_kernel::call(number, arguments...);
  }
};

struct pipe_pair {
  pipe_pair() { REQUIRE(::pipe(ends.data()) == 0); }
  pipe_pair(pipe_pair const&) = delete;
  pipe_pair& operator=(pipe_pair const&) = delete;
  ~pipe_pair() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  std::array<int, 2> ends{};
};

/// How many areas of this process's memory belong to a ring or to its scratch file.
std::size_t areas_of_rings() {
  std::ifstream maps{"/proc/self/maps"};
  std::size_t found = 0;
  for (std::string line; std::getline(maps, line);)
    found += line.find("io_uring") != std::string::npos ? 1U : 0U;
  return found;
}

template <class Kernel>
bool opens(io_uring_ring<Kernel>& ring, std::uint32_t slots = 4) {
  const auto opened = ring.open(slots);
  if (!opened) tether_test::skip_because(opened.error().sentence());
  return opened.has_value();
}

}  // namespace

TEST_CASE(
    "an emptied slot stays pinned while a request uses it, and waiting for its tag waits for that "
    "request") {
  io_uring_ring<waited_for_kernel> ring;
  if (!opens(ring)) return;
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  const pipe_pair pipe;
  const auto before = pinned_by_the_kernel();
  REQUIRE(ring.pin(0, memory.host(), page) == 0);
  // In flight: it reads from a pipe that is empty.
  REQUIRE(ring.begin(IORING_OP_READ_FIXED, pipe.ends[0], 0, 0, memory.host(), 4) == 0);
  REQUIRE(ring.begin_unpin(0) == 0);
  CHECK(pinned_by_the_kernel() == before + page);
  int waits = 0;
  waited_for_kernel::at_wait = [&]() -> std::optional<linux_kernel::answer> {
    if (waits++ == 0) return -EINTR;  // a signal, before anything came
    if (waits == 2) CHECK(::write(pipe.ends[1], "\x5a\x5a\x5a\x5a", 4) == 4);
    return std::nullopt;
  };
  CHECK(ring.wait_for_unpins() == 0);
  waited_for_kernel::at_wait = nullptr;
  REQUIRE(waits >= 2);
  CHECK(pinned_by_the_kernel() == before);
  CHECK(ring.finish() == 4);
  CHECK(memory.bytes()[3] == std::byte{0x5a});
}

TEST_CASE("a wait that fails leaves the request in flight, and the next one waits for it first") {
  io_uring_ring<waited_for_kernel> ring;
  if (!opens(ring)) return;
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  const pipe_pair pipe;
  REQUIRE(ring.pin(0, memory.host(), page) == 0);
  waited_for_kernel::at_wait = [] { return std::optional<linux_kernel::answer>{-EIO}; };
  CHECK(ring.request(IORING_OP_READ_FIXED, pipe.ends[0], 0, 0, memory.host(), 4) == -EIO);
  CHECK(ring.move(IORING_OP_READ_FIXED, 0, memory.host(8), 4) == -EIO);
  waited_for_kernel::at_wait = nullptr;
  REQUIRE(::write(pipe.ends[1], "\x11\x11\x11\x11", 4) == 4);
  ring.scratch()[0] = std::byte{0x22};
  CHECK(ring.move(IORING_OP_READ_FIXED, 0, memory.host(8), 4) == 0);
  CHECK(memory.bytes()[0] == std::byte{0x11});
  CHECK(memory.bytes()[8] == std::byte{0x22});
  REQUIRE(ring.begin_unpin(0) == 0);
  CHECK(ring.wait_for_unpins() == 0);
}

TEST_CASE(
    "a ring that cannot be set up leaves no descriptor and no memory behind, whichever call "
    "fails") {
  if (io_uring_ring<faulty_kernel> probe; !opens(probe)) return;
  const auto descriptors = tether_test::open_descriptors();
  const auto areas = areas_of_rings();
  std::uint64_t failures = 0;
  for (std::uint64_t n = 1;; ++n) {
    const injected_fault fault{n, ENFILE};
    {
      io_uring_ring<faulty_kernel> ring;
      const auto opened = ring.open(4);
      CHECK(opened.has_value() == !fault.fired());
      if (opened) CHECK(areas_of_rings() == areas + 3);
      if (!opened) CHECK(!opened.error().rollback_failed());
    }
    CHECK(areas_of_rings() == areas);
    CHECK(tether_test::open_descriptors() == descriptors);
    if (!fault.fired()) break;
    ++failures;
  }
  CHECK(failures >= 5);
}

TEST_CASE("a wait for what never comes ends, however it is interrupted, and can be repeated") {
  io_uring_ring<waited_for_kernel> ring;
  if (const auto opened = ring.open(4, std::chrono::milliseconds{20}); !opened)
    return tether_test::skip_because(opened.error().sentence());
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  const pipe_pair pipe;
  const auto before = pinned_by_the_kernel();
  REQUIRE(ring.pin(0, memory.host(), page) == 0);
  REQUIRE(ring.begin(IORING_OP_READ_FIXED, pipe.ends[0], 0, 0, memory.host(), 4) == 0);
  REQUIRE(ring.begin_unpin(0) == 0);
  // The test gives up itself where the ring does not: after a million interruptions, or a wait that
  // has no end, which Linux is not asked for.
  std::uint64_t waits = 0;
  for (const linux_kernel::answer interruption : {-EINTR, -EAGAIN, -EBUSY}) {
    CAPTURE(interruption);
    waited_for_kernel::at_wait = [&]() -> std::optional<linux_kernel::answer> {
      return ++waits < 1'000'000 ? interruption : -EIO;
    };
    waits = 0;
    CHECK(ring.wait_for_unpins() == -ETIME);
  }
  bool ends = false;
  waited_for_kernel::at_flagged_wait = [&](long flags) {
    ends = (flags & IORING_ENTER_EXT_ARG) != 0;
    return ends ? std::nullopt : std::optional<linux_kernel::answer>{-EIO};
  };
  waited_for_kernel::at_wait = nullptr;
  CHECK(ring.wait_for_unpins() == -ETIME);
  CHECK(ends);
  waited_for_kernel::at_flagged_wait = nullptr;
  CHECK(pinned_by_the_kernel() == before + page);
  REQUIRE(::write(pipe.ends[1], "\x5a\x5a\x5a\x5a", 4) == 4);
  CHECK(ring.wait_for_unpins() == 0);
  CHECK(pinned_by_the_kernel() == before);
}

TEST_CASE("a ring holds 64 completions, and more slots than that can be emptied before a wait") {
  io_uring_ring<> ring;
  constexpr std::uint32_t slots = 200;
  if (!opens(ring, slots)) return;
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  const auto before = pinned_by_the_kernel();
  for (std::uint32_t slot = 0; slot != slots; ++slot)
    REQUIRE(ring.pin(slot, memory.host(), page) == 0);
  for (std::uint32_t slot = 0; slot != slots; ++slot) REQUIRE(ring.begin_unpin(slot) == 0);
  CHECK(ring.wait_for_unpins() == 0);
  CHECK(pinned_by_the_kernel() == before);
}

TEST_CASE("what is refused for memory is asked again only while a closed ring can be the cause") {
  using kernel = short_of_memory_kernel;
  {
    kernel::refusals = 1;
    io_uring_ring<kernel> first;
    const auto opened = first.open(4);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().is_errno(ENOMEM));
    CHECK(kernel::asked == 1);
    if (!opens(first)) return;
    const host_memory memory{tether_test::host_page()};
    kernel::refusals = 1;
    CHECK(first.pin(0, memory.host(), memory.size()) == -ENOMEM);
  }
  kernel::asked = 0;
  kernel::refusals = 5;
  io_uring_ring<kernel> second;
  REQUIRE(second.open(4));
  CHECK(kernel::asked == 6);
  const host_memory memory{tether_test::host_page()};
  kernel::refusals = 5;
  CHECK(second.pin(0, memory.host(), memory.size()) == 0);
  CHECK(kernel::asked == 12);
  REQUIRE(second.begin_unpin(0) == 0);
  CHECK(second.wait_for_unpins() == 0);
}

TEST_CASE("where the kernel forbids io_uring the error says so and what to do about it") {
  for (const int why : {EPERM, ENOSYS, EACCES}) {
    const injected_fault fault{1, why};
    io_uring_ring<faulty_kernel> ring;
    const auto opened = ring.open(4);
    REQUIRE(!opened);
    CHECK(opened.error().is_errno(why));
    CHECK(opened.error().sentence().find("io_uring_disabled") != std::string::npos);
    CHECK(opened.error().sentence().find("seccomp") != std::string::npos);
  }
}

TEST_CASE("what the kernel refuses to pin is answered as its errno and pins nothing") {
  io_uring_ring<> ring;
  if (!opens(ring)) return;
  const auto before = pinned_by_the_kernel();
  const auto page = tether_test::host_page();
  CHECK(ring.pin(0, host_address{page}, page) == -EFAULT);
  const host_memory memory{page};
  CHECK(ring.pin(4, memory.host(), page) == -EINVAL);
  CHECK(pinned_by_the_kernel() == before);
  CHECK(ring.move(IORING_OP_READ_FIXED, 0, memory.host(), 8) == -EFAULT);
}

}  // namespace runtime_backend_io_uring_ring
