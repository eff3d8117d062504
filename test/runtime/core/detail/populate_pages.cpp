// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/populate_pages.hpp>

#include <tether/topology/detail/memory_calls.hpp>

#include <support/faulty_kernel.hpp>
#include <support/process_facts.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>

namespace runtime_core_detail_populate_pages {

using namespace tether;
using namespace tether::detail;
using tether_test::is_resident;

namespace {

const std::uint64_t page = linux_kernel::page_size();

struct two_pages {
  void* at = ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  two_pages() { REQUIRE(at != MAP_FAILED); }
  two_pages(two_pages const&) = delete;
  two_pages& operator=(two_pages const&) = delete;
  ~two_pages() { ::munmap(at, 2 * page); }
  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(at); }
  [[nodiscard]] std::uint64_t host() const { return reinterpret_cast<std::uintptr_t>(at); }
};

}  // namespace

TEST_CASE("a touch faults each page in and changes no byte") {
  const two_pages memory;
  memory.data()[1] = std::byte{9};
  touch_each(memory.host(), 2 * page);
  CHECK(is_resident(memory.data() + page));
  CHECK(memory.data()[0] == std::byte{0});
  CHECK(memory.data()[1] == std::byte{9});
}

TEST_CASE("only what KSM may merge is taken from it, and an error is the kernel's own") {
  constexpr memory_calls const& table = memory_calls_of<faulty_kernel>;
  std::uint64_t calls_without = 0;
  for (const bool mergeable : {false, true}) {
    const two_pages memory;
    faulty_kernel::reset();
    CHECK(populate_pages(table, memory.host(), page, mergeable) == 0);
    if (mergeable) CHECK(faulty_kernel::calls() == calls_without + 1);
    else calls_without = faulty_kernel::calls();
    CHECK(is_resident(memory.data()));
    CHECK_FALSE(is_resident(memory.data() + page));
    const injected_fault fault{1, ENOMEM};
    CHECK(populate_pages(table, memory.host(), page, mergeable) == -ENOMEM);
  }
}

}  // namespace runtime_core_detail_populate_pages
