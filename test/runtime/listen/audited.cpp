// SPDX-License-Identifier: BSL-1.0
// What the policy remembers, told by hand as a container tells it. test/runtime/attach/audit.cpp
// asks real containers.
#include <tether/listen/audited.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/faulty_kernel.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace runtime_listen_audited {

using namespace tether;
using tether_test::host_memory;
using tether_test::host_page;
using tether_test::must;

namespace {

struct counting {
  using slot = observation_slot;
  int told = 0;
  void mapped(mapping const&) noexcept { ++told; }
  void unmapped(extent<io_address>) noexcept { ++told; }
  void pinning(bool) noexcept { ++told; }
  void trimmed(section const&, std::uint64_t) noexcept { ++told; }
  void left_out(section const&, error const&) noexcept { ++told; }
  void diverged(error const&) noexcept { ++told; }
};
static_assert(observation<audited> && observation<audited_beside<counting>>);

/// Takes the frames that were freed last, which would else come back: here nothing pins them
/// really.
struct frames_taken {
  frames_taken() {
    for (std::uint64_t at = 0; at < memory.size(); at += host_page())
      memory.bytes()[at] = std::byte{1};
  }
  host_memory memory{256 * host_page()};
};

/// Eight pages, all touched, at 1 MiB.
struct eight_pages {
  eight_pages() { fill(); }
  void fill() {
    for (std::byte& one : memory.bytes()) one = std::byte{1};
  }
  host_memory memory{8 * host_page()};
  mapping whole = memory.at(MiB, 0, 8 * host_page());
  extent<io_address> pages(std::uint64_t first, std::uint64_t count) const {
    return {io_address{MiB + first * host_page()},
            io_address{MiB + (first + count) * host_page() - 1}};
  }
};

}  // namespace

TEST_CASE_FIXTURE(
    eight_pages,
    "an audit finds nothing while the pages are the same, whatever is written to them") {
  audited watch;
  watch.pinning(true);
  watch.mapped(whole);
  fill();
  const audit_report found = must(watch.compare());
  CHECK(found.clean());
  CHECK(found.compared == memory.size());
  CHECK(found.not_compared == 0);
}

TEST_CASE_FIXTURE(eight_pages,
                  "discarded private pages are stale before they are touched and after; neighbours "
                  "are told as one") {
  audited watch;
  watch.pinning(true);
  watch.mapped(whole);
  memory.discard(2 * host_page(), 3 * host_page());
  const frames_taken away;
  memory.bytes()[4 * host_page()] = std::byte{2};
  const audit_report found = must(watch.compare());
  REQUIRE(found.stale.size() == (found.by_frame_number ? 2 : 1));
  CHECK(found.stale[0] ==
        stale_extent{pages(2, 2), memory.host(2 * host_page()), staleness::absent, whole.where});
  if (found.by_frame_number)
    CHECK(found.stale[1] == stale_extent{pages(4, 1), memory.host(4 * host_page()),
                                         staleness::replaced, whole.where});
}

TEST_CASE(
    "a hole in a file is stale as soon as it is looked at; a page that only the tables lost is "
    "not") {
  const ram_block shared =
      must(ram_block::allocate("shared", 4 * host_page(), memory_kind::shared));
  for (std::uint64_t at = 0; at < shared.size(); at += host_page())
    shared.data()[at] = std::byte{1};
  audited watch;
  watch.pinning(true);
  watch.mapped({{io_address{0}, io_address{shared.size() - 1}},
                shared.backing().host(),
                access::read_write,
                memory_kind::shared});
  // Dropped from this process's tables, and still in the file.
  REQUIRE(::madvise(shared.data(), 2 * host_page(), MADV_DONTNEED) == 0);
  const audit_report same = must(watch.compare());
  CHECK(same.clean());
  if (!same.by_frame_number)
    return tether_test::skip_because("this process may not see the numbers of frames");
  REQUIRE(::madvise(shared.data() + host_page(), host_page(), MADV_REMOVE) == 0);
  const frames_taken away;
  const audit_report found = must(watch.compare());
  REQUIRE(found.stale.size() == 1);
  CHECK(found.stale[0].where ==
        extent<io_address>{io_address{host_page()}, io_address{2 * host_page() - 1}});
}

TEST_CASE_FIXTURE(
    eight_pages,
    "what nothing pins is not compared; it is from when it begins to be pinned, as it is then") {
  audited watch;
  watch.pinning(false);
  watch.mapped(whole);
  memory.discard(0, host_page());
  memory.bytes()[0] = std::byte{3};
  CHECK(must(watch.compare()).not_compared == memory.size());
  watch.pinning(true);
  CHECK(must(watch.compare()).clean());
  memory.discard(0, host_page());
  const frames_taken away;
  memory.bytes()[0] = std::byte{3};
  watch.pinning(true);  // another one joins: what the first has pinned is still what it pinned
  const audit_report found = must(watch.compare());
  CHECK(found.clean() == !found.by_frame_number);
  watch.pinning(false);
  CHECK(must(watch.compare()).clean());
}

TEST_CASE_FIXTURE(eight_pages, "what is unmapped is forgotten, and only that") {
  audited watch;
  watch.pinning(true);
  watch.mapped(memory.at(MiB, 0, 4 * host_page()));
  watch.mapped(memory.at(MiB + 4 * host_page(), 4 * host_page(), 4 * host_page()));
  watch.unmapped(pages(0, 4));
  memory.discard(0, 8 * host_page());
  const audit_report found = must(watch.compare());
  REQUIRE(found.stale.size() == 1);
  CHECK(found.stale[0].where == pages(4, 4));
  watch.unmapped({pages(4, 4).last, pages(0, 4).first});  // no extent at all
  CHECK(must(watch.compare()).compared == 4 * host_page());
  watch.unmapped(extent<io_address>::everything());
  CHECK(must(watch.compare()).compared == 0);
}

TEST_CASE_FIXTURE(eight_pages, "a device's own memory is not compared") {
  audited watch;
  watch.pinning(true);
  mapping bar = whole;
  bar.memory = memory_kind::device;
  watch.mapped(bar);
  CHECK(must(watch.compare()).not_compared == memory.size());
}

TEST_CASE_FIXTURE(eight_pages, "a list of frames that cannot be read is an error of the audit") {
  basic_audited<no_observation, faulty_kernel> watch;
  watch.pinning(true);
  watch.mapped(whole);
  const injected_fault refuse{1, EACCES};
  const auto found = watch.compare();
  REQUIRE_FALSE(found);
  CHECK(found.error().is_errno(EACCES));
}

TEST_CASE_FIXTURE(eight_pages, "an observer beside it is told everything") {
  audited_beside<counting> watch;
  watch.pinning(true);
  watch.mapped(whole);
  watch.unmapped(whole.where);
  watch.trimmed({}, 1);
  watch.left_out({}, error{"map", errc::over_budget});
  watch.diverged(error{"map", errc::diverged});
  CHECK(watch.next().told == 6);
}

}  // namespace runtime_listen_audited
