// SPDX-License-Identifier: BSL-1.0
#include <tether/core/pagemap.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/faulty_kernel.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>
#include <support/process_facts.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace runtime_core_pagemap {

using namespace tether;
using tether_test::host_memory;
using tether_test::host_page;
using tether_test::must;

namespace {

std::vector<page_frame> frames_of(host_address from, std::uint64_t pages, bool touch) {
  const auto list = must(page_frames<>::open());
  std::vector<page_frame> all(pages);
  must(list.look(from, pages, touch, [&](std::uint64_t at, page_frame frame) { all[at] = frame; }));
  return all;
}

}  // namespace

TEST_CASE("a page that was never touched is not there, and looking does not bring it in") {
  const host_memory memory{4 * host_page()};
  memory.bytes()[0] = std::byte{1};
  for (int look = 0; look < 2; ++look) {
    const auto seen = frames_of(memory.host(), 4, false);
    CHECK(seen[0].present());
    CHECK_FALSE(seen[1].present());
  }
}

TEST_CASE("what is not in this process's tables is read first, if asked") {
  const ram_block shared =
      must(ram_block::allocate("shared", 3 * host_page(), memory_kind::shared));
  CHECK_FALSE(frames_of(shared.backing().host(), 3, false)[2].present());
  CHECK(frames_of(shared.backing().host(), 3, true)[2].present());
}

TEST_CASE("more pages than fit into one answer are all seen, once and in order") {
  const host_memory memory{1300 * host_page()};
  memory.bytes()[777 * host_page()] = std::byte{1};
  const auto list = must(page_frames<>::open());
  std::uint64_t next = 0;
  std::uint64_t there = 0;
  must(list.look(memory.host(), 1300, false, [&](std::uint64_t at, page_frame frame) {
    CHECK(at == next++);
    if (frame.present()) there += at;
  }));
  CHECK(next == 1300);
  CHECK(there == 777);
}

TEST_CASE("two pages never have the same frame, and one keeps its own while nobody takes it away") {
  const host_memory memory{2 * host_page()};
  for (std::byte& one : memory.bytes()) one = std::byte{1};
  const auto before = frames_of(memory.host(), 2, false);
  if (before[0].number() == 0) return;  // this process may not see numbers
  CHECK(before[0].number() != before[1].number());
  CHECK(frames_of(memory.host(), 2, false)[0].number() == before[0].number());
}

TEST_CASE("memory that is not mapped any more is seen as absent, even if it is to be read first") {
  host_address gone{};
  {
    const host_memory memory{host_page()};
    gone = memory.host();
  }
  CHECK_FALSE(frames_of(gone, 1, true)[0].present());
}

TEST_CASE("a list that cannot be opened or read is an error that names it, and is closed") {
  const auto descriptors = tether_test::descriptors();
  {
    const injected_fault refuse{1, EACCES};
    const auto list = page_frames<faulty_kernel>::open();
    REQUIRE_FALSE(list);
    CHECK(list.error().is_errno(EACCES));
    CHECK(list.error().subject() == "/proc/self/pagemap");
  }
  {
    const host_memory memory{host_page()};
    const injected_fault refuse{2, EIO};
    const auto list = must(page_frames<faulty_kernel>::open());
    const auto read = list.look(memory.host(), 1, false, [](std::uint64_t, page_frame) {});
    REQUIRE_FALSE(read);
    CHECK(read.error().is_errno(EIO));
  }
  CHECK(tether_test::descriptors() == descriptors);
}

}  // namespace runtime_core_pagemap
