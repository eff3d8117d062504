// SPDX-License-Identifier: BSL-1.0
#include <tether/core/kernel_handles.hpp>

#include <support/faulty_kernel.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <sys/mman.h>
#include <utility>

namespace runtime_core_kernel_handles {

using namespace tether;

TEST_CASE("a descriptor is closed exactly once, wherever it has been moved") {
  faulty_kernel::reset();
  const auto before = tether_test::open_descriptors();
  {
    kernel_descriptor<faulty_kernel> first{faulty_kernel::memfd_create("one", 0)};
    kernel_descriptor<faulty_kernel> second{std::move(first)};
    kernel_descriptor<faulty_kernel> third;
    third = std::move(second);
    CHECK(tether_test::open_descriptors() == before + 1);
    CHECK(third.number() >= 0);
    CHECK(first.number() < 0);
  }
  CHECK(tether_test::open_descriptors() == before);
  CHECK(faulty_kernel::calls_of(kernel_call::close) == 1);
}

TEST_CASE("an area of memory is unmapped exactly once, wherever it has been moved") {
  faulty_kernel::reset();
  {
    const auto page = faulty_kernel::page_size();
    kernel_area<faulty_kernel> first{
        faulty_kernel::mmap(page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        page};
    *first.as<int>(8) = 7;
    kernel_area<faulty_kernel> second;
    second = std::move(first);
    kernel_area<faulty_kernel> third{std::move(second)};
    CHECK(*third.as<int>(8) == 7);
    CHECK(third.size() == page);
  }
  CHECK(faulty_kernel::calls_of(kernel_call::munmap) == 1);
}

}  // namespace runtime_core_kernel_handles
