// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/iommufd/shared_mappings.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace runtime_backend_iommufd_shared_mappings {

using namespace tether;
using namespace tether::detail;
using tether_test::must;
using mappings = tether::detail::shared_mappings;

namespace {

mapping of(std::uint64_t host, std::uint64_t size, std::uint64_t iova = 0,
           tether::access rights = tether::access::read_write,
           memory_kind memory = memory_kind::private_anonymous) {
  return {{io_address{iova}, io_address{iova + (size - 1)}}, host_address{host}, rights, memory};
}

}  // namespace

TEST_CASE("only the same memory with no fewer rights, pinned by another container, is a source") {
  mappings all;
  all.publish(must(all.prepare(1, of(0x10000, 0x4000, 0x70000), false)), false);
  CHECK(!all.find(2, of(0x10000, 0x4000), false));  // nothing pins it, so sharing saves nothing
  all.set_pinned(1, true);
  const auto found = all.find(2, of(0x10000, 0x4000, 0x9000), false);
  REQUIRE(found);
  CHECK(found->ioas == 1);
  CHECK(found->first == io_address{0x70000});
  CHECK(!all.find(1, of(0x10000, 0x4000), false));
  CHECK(!all.find(2, of(0x11000, 0x3000), false));
  CHECK(!all.find(2, of(0x10000, 0x3000), false));
  CHECK(!all.find(2, of(0x10000, 0x4000, 0, access::read_write, memory_kind::shared), false));
  // what is wanted by its file is not taken by its address
  CHECK(!all.find(2, of(0x10000, 0x4000), true));
  CHECK(all.find(2, of(0x10000, 0x4000, 0, access::read), false));
  all.publish(must(all.prepare(1, of(0x20000, 0x1000, 0, access::read), false)), false);
  CHECK(!all.find(2, of(0x20000, 0x1000), false));
  CHECK(all.find(2, of(0x20000, 0x1000, 0, access::read), false));
  all.set_pinned(1, false);
  CHECK(!all.find(2, of(0x10000, 0x4000), false));
}

TEST_CASE(
    "what is written down is no source before it is mapped, nor once its unmap is under way") {
  mappings all;
  all.set_pinned(1, true);
  const auto place = must(all.prepare(1, of(0x10000, 0x1000), false));
  CHECK(!all.find(2, of(0x10000, 0x1000), false));
  all.publish(place, true);
  CHECK(all.find(2, of(0x10000, 0x1000), true));
  all.unpublish(place);
  CHECK(!all.find(2, of(0x10000, 0x1000), false));
  all.republish(place);
  CHECK(all.find(2, of(0x10000, 0x1000), true));
  all.erase(place);
  CHECK(all.size() == 0);
}

TEST_CASE("a copy counts only if its source was there all along, even if the same is there again") {
  mappings all;
  all.set_pinned(1, true);
  const auto source = must(all.prepare(1, of(0x10000, 0x1000), false));
  all.publish(source, false);
  const auto mine = must(all.prepare(2, of(0x10000, 0x1000), false));
  const auto stayed = all.find(2, of(0x10000, 0x1000), false);
  REQUIRE(stayed);
  CHECK(all.publish_copy(mine, *stayed));
  all.unpublish(mine);
  all.unpublish(source);
  CHECK(!all.publish_copy(mine, *stayed));
  all.republish(source);
  CHECK(!all.publish_copy(mine, *stayed));
  all.erase(source);
  CHECK(!all.publish_copy(mine, *stayed));
  CHECK(!all.find(1, of(0x10000, 0x1000), false));
}

}  // namespace runtime_backend_iommufd_shared_mappings
