// SPDX-License-Identifier: BSL-1.0
// The limits alone. When they are read is in iommufd.cpp, where devices are.
#include <tether/backend/iommufd/ioas_limits.hpp>

#include <tether/backend/iommufd/ioas.hpp>

#include <support/fake_iommufd_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>

namespace runtime_backend_iommufd_ioas_limits {

using namespace tether;
using tether_test::fake_iommufd_kernel;
using tether_test::iommufd_bench;
using tether_test::must;
namespace abi = tether::detail::iommufd_uapi;

namespace {

using limits = detail::ioas_limits<fake_iommufd_kernel>;

/// A context with one IOAS and no device.
struct fixture : iommufd_bench {
  fixture() { must(ioas.allocate()); }
  result<void> read() { return tested.read(context.descriptor(), ioas.id()); }

  detail::iommufd_ioas<fake_iommufd_kernel> ioas{context, true};
  limits tested;
};

extent<io_address> page(std::uint64_t number) {
  return {io_address{number * 0x1000}, io_address{number * 0x1000 + 0xfff}};
}

}  // namespace

TEST_CASE("every IOVA is usable at first, and again after a reset") {
  fixture f;
  CHECK(f.tested.usable().front().is_everything());
  CHECK(f.tested.page_sizes().smallest() == fake_iommufd_kernel::page_size());
  f.machine.ranges_to_tell = {page(0), page(1), page(5)};
  must(f.read());
  REQUIRE(f.tested.usable().size() == 3);  // adjacent ranges stay two
  CHECK(f.tested.usable()[1] == page(1));
  f.tested.reset();
  REQUIRE(f.tested.usable().size() == 1);
  CHECK(f.tested.usable().front().is_everything());
}

TEST_CASE("an answer that does not fit is asked for again with room for it") {
  fixture f;
  fake_iommufd_kernel::machine().ranges_to_tell.emplace();
  for (std::uint64_t i = 0; i < 100; ++i) f.machine.ranges_to_tell->push_back(page(2 * i));
  f.machine.requests.clear();
  must(f.read());
  CHECK(f.tested.usable().size() == 100);
  CHECK(f.machine.count(abi::read_limits.number) == 2);
}

TEST_CASE("ranges out of order, and a call that fails, leave the limits as they were") {
  fixture f;
  f.machine.ranges_to_tell = {page(1), page(3)};
  must(f.read());
  for (auto const& wrong : {tether_test::fake_iommufd::ranges{},
                            {page(3), page(1)},
                            {page(1), page(1)},
                            {{io_address{5}, io_address{4}}}}) {
    f.machine.ranges_to_tell = wrong;
    CHECK(f.read().error().is(errc::bad_descriptor));
    CHECK(f.tested.usable().size() == 2);
  }
  const injected_fault fault{1, EIO};
  CHECK(f.read().error().is_errno(EIO));
  CHECK(f.tested.usable().size() == 2);
}

}  // namespace runtime_backend_iommufd_ioas_limits
