// SPDX-License-Identifier: BSL-1.0
// When `io_uring_buffers` pins, as the kernel's own VmPin says; and every failure of every call.
#include <tether/backend/io_uring_buffers.hpp>

#include <support/faulty_kernel.hpp>
#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <tuple>
#include <unistd.h>
#include <utility>

namespace runtime_backend_io_uring_buffers {

using namespace tether;
using tether_test::host_memory;
using tether_test::open_descriptors;
using tether_test::pinned_by_the_kernel;

namespace {

using faulty_buffers = basic_io_uring_buffers<faulty_kernel>;

endpoint_group pinning(const char* name) { return {name, {{"nic", pin_class::pins}}}; }
endpoint_group mediated(const char* name) { return {name, {{"vgpu", pin_class::pins_on_demand}}}; }

/// What can be seen of a backend from outside.
struct seen {
  std::uint64_t pinned_by_kernel;
  std::uint64_t pinned_by_books;
  std::uint64_t free_mappings;
  std::size_t descriptors;
  friend bool operator==(seen const&, seen const&) = default;
};
template <class Backend>
seen look_at(Backend const& iommu) {
  return {pinned_by_the_kernel(), iommu.pinned_bytes(), iommu.free_mappings(), open_descriptors()};
}

}  // namespace

TEST_CASE("mappings are only recorded until a pinning group joins, which pins them all") {
  auto opened = io_uring_buffers::open({.slots = 8});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  const auto page = tether_test::host_page();
  const host_memory memory{8 * page};
  const auto before = pinned_by_the_kernel();
  const auto pinned = [&] { return pinned_by_the_kernel() - before; };
  auto vgpu = iommu.join(mediated("vgpu")).value();
  REQUIRE(iommu.map(memory.at(0, 0, 2 * page)));
  REQUIRE(iommu.map(memory.at(2 * page, 4 * page, page)));
  CHECK(pinned() == 0);
  auto first = iommu.join(pinning("first")).value();
  CHECK(pinned() == 3 * page);
  CHECK(iommu.pinned_bytes() == 3 * page);
  auto second = iommu.join(pinning("second")).value();
  CHECK(pinned() == 3 * page);
  REQUIRE(iommu.map(memory.at(8 * page, 6 * page, page)));
  CHECK(pinned() == 4 * page);
  REQUIRE(iommu.leave(first));
  CHECK(pinned() == 4 * page);
  REQUIRE(iommu.unmap({io_address{0}, io_address{2 * page - 1}}));
  CHECK(pinned() == 2 * page);
  REQUIRE(iommu.leave(second));
  CHECK(pinned() == 0);
  CHECK(iommu.pinned_bytes() == 0);
  CHECK(iommu.free_mappings() == 5);  // still recorded
  auto third = iommu.join(pinning("third")).value();
  CHECK(pinned() == 2 * page);
  REQUIRE(iommu.leave(third));
  REQUIRE(iommu.leave(vgpu));
}

TEST_CASE(
    "a recorded mapping of memory that is gone fails the join, by name, with nothing pinned") {
  auto opened = io_uring_buffers::open({.slots = 8});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  const auto page = tether_test::host_page();
  const host_memory memory{4 * page};
  REQUIRE(iommu.map(memory.at(0, 0, page)));
  {
    const host_memory vanishing{page};
    REQUIRE(iommu.map(vanishing.at(page, 0, page)));
  }
  REQUIRE(iommu.map(memory.at(2 * page, 2 * page, page)));
  const auto before = look_at(iommu);
  const auto refused = iommu.join(pinning("late"));
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::memory_gone));
  CHECK(refused.error().subject() == "late");
  CHECK(refused.error().first() == page);
  CHECK(refused.error().last() == 2 * page - 1);
  CHECK(!refused.error().rollback_failed());
  CHECK(look_at(iommu) == before);
  REQUIRE(iommu.unmap({io_address{page}, io_address{2 * page - 1}}));
  CHECK(iommu.join(pinning("late")));
}

TEST_CASE("memory that vanishes under its pin is unmapped all the same") {
  auto opened = io_uring_buffers::open({.slots = 8});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto group = opened->join(pinning("g")).value();
  const auto page = tether_test::host_page();
  const auto before = pinned_by_the_kernel();
  {
    const host_memory vanishing{page};
    REQUIRE(opened->map(vanishing.at(0, 0, page)));
  }
  CHECK(pinned_by_the_kernel() == before + page);
  CHECK(opened->unmap({io_address{0}, io_address{page - 1}}));
  CHECK(pinned_by_the_kernel() == before);
}

TEST_CASE("memory that the process may not write cannot be pinned, and the error says why") {
  auto opened = io_uring_buffers::open({.slots = 8});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(pinning("g")).value();
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  REQUIRE(::mprotect(memory.bytes().data(), page, PROT_READ) == 0);
  const auto before = look_at(iommu);
  const auto refused = iommu.map(memory.at(0, 0, page, access::read));
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::access_denied));
  CHECK(refused.error().sentence().find("it is pinned for writing") != std::string::npos);
  CHECK(look_at(iommu) == before);
}

TEST_CASE("a file on a disk is told as one: it is there and writable, and cannot be pinned") {
  auto opened = io_uring_buffers::open({.slots = 8});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto group = opened->join(pinning("g")).value();
  const auto page = tether_test::host_page();
  std::string path = "/var/tmp/tether-on-a-disk-XXXXXX";
  const int file = ::mkstemp(path.data());
  if (file < 0) return tether_test::skip_because("there is no /var/tmp");
  ::unlink(path.c_str());
  REQUIRE(::ftruncate(file, static_cast<off_t>(page)) == 0);
  void* const at = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  REQUIRE(at != MAP_FAILED);
  const auto refused = opened->map({{io_address{0}, io_address{page - 1}},
                                    host_address{reinterpret_cast<std::uintptr_t>(at)},
                                    access::read_write,
                                    memory_kind::shared});
  ::munmap(at, page);
  ::close(file);
  if (refused) return tether_test::skip_because("/var/tmp is memory, or this kernel pins files");
  CHECK(refused.error().is(errc::wrong_kind));
  CHECK(refused.error().sentence().find("a file on a disk cannot be pinned") != std::string::npos);
}

TEST_CASE(
    "the kernel's whole table of 16,384 slots is used, but for the one that mediated requests "
    "take") {
  const auto opened = io_uring_buffers::open();
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  CHECK(opened->free_mappings() == io_uring_most_slots - 1);
  CHECK(opened->page_sizes().smallest() == tether_test::host_page());
  CHECK(opened->page_sizes() == sizes_of_page_tables(tether_test::host_page()));
  REQUIRE(opened->usable_iova().size() == 1);
  CHECK(opened->usable_iova()[0].last.value == 0xffff'ffff'ffff);
}

TEST_CASE(
    "a full locked-memory limit refuses the map, leaves nothing, and says how much is needed") {
  if (const auto probe = io_uring_buffers::open({.slots = 8}); !probe)
    return tether_test::skip_because(probe.error().sentence());
  // An ordinary user's limit, in a child: root is not held to it.
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_max < 8 * MiB) ::_exit(77);
    limit.rlim_cur = 1 * MiB;
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) ::_exit(10);
    if (::geteuid() == 0 && ::setresuid(64321, 64321, 64321) != 0) ::_exit(11);
    auto opened = io_uring_buffers::open({.slots = 8});
    if (!opened) ::_exit(12);
    const auto group = opened->join(pinning("g"));
    if (!group) ::_exit(19);
    const host_memory memory{2 * MiB};
    if (!opened->map(memory.at(0, 0, 512 * KiB))) ::_exit(13);
    const auto before = look_at(*opened);
    const auto refused = opened->map(memory.at(1 * MiB, 512 * KiB, 768 * KiB));
    if (refused) ::_exit(14);
    if (!refused.error().is_errno(ENOMEM) || refused.error().number() <= 1024) ::_exit(15);
    if (refused.error().sentence().find("(ulimit -l), which counts all that") == std::string::npos)
      ::_exit(16);
    if (!(look_at(*opened) == before)) ::_exit(17);
    limit.rlim_cur = refused.error().number() * KiB;
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) ::_exit(20);
    if (!opened->map(memory.at(1 * MiB, 512 * KiB, 768 * KiB))) ::_exit(18);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77)
    return tether_test::skip_because("the limit cannot be raised here");
  CHECK(WEXITSTATUS(status) == 0);
}

// Each sweep lets the n-th system call of one operation fail, once or several times in a row, until
// none is left to fail. Afterwards the state is the one before; or the error says that it is stuck,
// the records still agree with the kernel, and asking again succeeds.
namespace {

struct swept {
  std::uint64_t failed = 0;
  std::uint64_t stuck = 0;
};

template <class Prepare, class Operation, class Retry>
swept sweep(Prepare prepare, Operation operation, Retry retry) {
  swept result;
  for (const std::uint64_t times : {1u, 2u, 3u, 6u}) {
    for (std::uint64_t n = 1;; ++n) {
      CAPTURE(times);
      CAPTURE(n);
      const auto untouched = pinned_by_the_kernel();
      bool fired = false;
      {
        faulty_buffers iommu =
            faulty_buffers::open({.slots = 12, .bytes_per_slot = 2 * tether_test::host_page()})
                .value();
        auto kept = prepare(iommu);
        const auto before = look_at(iommu);
        std::optional<error> why;
        {
          const injected_fault fault{n, EIO, false, times};
          if (const auto answer = operation(iommu, kept); !answer) why = answer.error();
          fired = fault.fired();
        }
        REQUIRE(why.has_value() == fired);
        REQUIRE(pinned_by_the_kernel() - untouched == iommu.pinned_bytes());
        if (why && why->rollback_failed()) {
          ++result.stuck;
          REQUIRE(retry(iommu, kept));
        } else if (why) {
          ++result.failed;
          REQUIRE(look_at(iommu) == before);
          REQUIRE(operation(iommu, kept));
        }
      }
      REQUIRE(pinned_by_the_kernel() == untouched);
      if (!fired) break;
    }
  }
  return result;
}

/// Two neighbours, of five and one pages: three slots and one.
struct mapped_pair {
  explicit mapped_pair(faulty_buffers& iommu) {
    REQUIRE(iommu.map(memory.at(0, 0, 5 * page)));
    REQUIRE(iommu.map(memory.at(5 * page, 5 * page, page)));
  }
  std::uint64_t page = tether_test::host_page();
  host_memory memory{8 * page};
  faulty_buffers::joined_group group{};
};

bool io_uring_is_there() {
  const auto probe = faulty_buffers::open({.slots = 4});
  if (!probe) tether_test::skip_because(probe.error().sentence());
  return probe.has_value();
}

auto nothing_mapped(faulty_buffers& iommu) {
  auto kept = std::make_unique<std::pair<host_memory, faulty_buffers::joined_group>>(
      std::piecewise_construct, std::forward_as_tuple(8 * tether_test::host_page()),
      std::forward_as_tuple());
  kept->second = iommu.join(pinning("g")).value();
  return kept;
}
auto recorded(faulty_buffers& iommu) { return std::make_unique<mapped_pair>(iommu); }
auto pinned(faulty_buffers& iommu) {
  auto kept = std::make_unique<mapped_pair>(iommu);
  kept->group = iommu.join(pinning("g")).value();
  return kept;
}

}  // namespace

TEST_CASE("io_uring: a map that fails at any call leaves nothing behind") {
  if (!io_uring_is_there()) return;
  const auto page = tether_test::host_page();
  const auto outcome = sweep(
      nothing_mapped,
      [&](auto& iommu, auto& kept) { return iommu.map(kept->first.at(0, 0, 5 * page)); },
      [&](auto& iommu, auto&) { return iommu.unmap({io_address{0}, io_address{5 * page - 1}}); });
  CHECK(outcome.failed >= 3);
  CHECK(outcome.stuck >= 1);
}

TEST_CASE(
    "io_uring: an unmap that fails at any call keeps everything pinned, or says that it is stuck "
    "and can be repeated") {
  if (!io_uring_is_there()) return;
  const auto unmap = [](auto& iommu, auto& kept) {
    return iommu.unmap({io_address{0}, io_address{6 * kept->page - 1}});
  };
  const auto outcome = sweep(pinned, unmap, unmap);
  CHECK(outcome.failed >= 4);
  CHECK(outcome.stuck >= 1);
}

TEST_CASE("io_uring: a join that fails at any call pins nothing") {
  if (!io_uring_is_there()) return;
  const auto join = [](auto& iommu, auto& kept) -> result<void> {
    auto joined = iommu.join(pinning("g"));
    if (!joined) return failure(joined.error());
    kept->group = *std::move(joined);
    return {};
  };
  const auto outcome = sweep(recorded, join, join);
  CHECK(outcome.failed >= 4);
  CHECK(outcome.stuck >= 1);
}

TEST_CASE("io_uring: a leave that fails at any call leaves the group joined and all of it pinned") {
  if (!io_uring_is_there()) return;
  const auto leave = [](auto& iommu, auto& kept) { return iommu.leave(kept->group); };
  const auto outcome = sweep(pinned, leave, leave);
  CHECK(outcome.failed >= 4);
  CHECK(outcome.stuck >= 1);
}

TEST_CASE("io_uring: abandoning can be repeated until nothing stands in the way") {
  if (!io_uring_is_there()) return;
  const auto abandon = [](auto& iommu, auto&) { return iommu.abandon(); };
  const auto outcome = sweep(pinned, abandon, abandon);
  CHECK(outcome.failed == 0);
  CHECK(outcome.stuck >= 4);
}

TEST_CASE("io_uring: opening that fails at any call leaves no descriptor") {
  if (!io_uring_is_there()) return;
  const auto descriptors = open_descriptors();
  std::uint64_t failures = 0;
  for (std::uint64_t n = 1;; ++n) {
    const injected_fault fault{n, ENFILE};
    const bool opened = faulty_buffers::open({.slots = 4}).has_value();
    CHECK(opened == !fault.fired());
    CHECK(open_descriptors() == descriptors);
    if (!fault.fired()) break;
    ++failures;
  }
  CHECK(failures >= 5);
}

}  // namespace runtime_backend_io_uring_buffers
