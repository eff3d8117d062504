// SPDX-License-Identifier: BSL-1.0
// What a table of blocks costs. That it finds the right buffer is `laws/buffer_lookup`.
#include <tether/backend/direct_lookup.hpp>

#include <support/failing_allocation.hpp>

#include <tether/backend/mapped_buffers.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <utility>

namespace runtime_backend_direct_lookup {

using namespace tether;

static_assert(buffer_lookup<sorted_lookup> && buffer_lookup<direct_lookup<4 * KiB>> &&
              buffer_lookup<direct_lookup<GiB>>);
static_assert(!buffer_lookup<direct_lookup<2 * KiB>> && !buffer_lookup<direct_lookup<2 * GiB>> &&
              !buffer_lookup<direct_lookup<48 * KiB>> && !buffer_lookup<int>);

namespace {

using table = direct_lookup<2 * MiB>;
constexpr std::uint64_t block = 2 * MiB;
constexpr std::uint64_t high = 130'000 * GiB;  // where Linux maps memory

/// So many blocks from the host address on.
buffer_place at(std::uint64_t host, std::uint64_t count) {
  return {{host_address{host}, host_address{host + (count * block - 1)}}, io_address{host + GiB}};
}
/// Where devices see so many bytes, if they lie in one buffer.
std::optional<io_address> found(table const& all, std::uint64_t host, std::uint64_t bytes) {
  io_address there;
  if (!all.find(host_address{host}, bytes, there)) return {};
  return there;
}
/// Bytes that `work` allocates.
template <class Work>
std::uint64_t allocated(Work work) {
  const std::uint64_t before = tether_test::bytes_allocated;
  work();
  return tether_test::bytes_allocated - before;
}

}  // namespace

TEST_CASE("a table takes as much memory as is said, and the same place takes none again") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  table all;
  const auto one_table = 8 * GiB / block;
  CHECK(allocated([&] { CHECK(all.insert(at(high, 1))); }) == one_table + 16);
  CHECK(allocated([&] { CHECK(all.insert(at(high + 9 * block, 100))); }) == 0);
  CHECK(allocated([&] {
          all.erase(at(high, 1));
          CHECK(all.insert(at(high, 2)));
        }) == 0);
  // From GiB to GiB, as the kernel maps memory, downwards, the list of them doubles.
  const auto downwards = allocated([&] {
    for (std::uint64_t gib = 1; gib != 1'000; ++gib) CHECK(all.insert(at(high - gib * GiB, 1)));
  });
  CHECK(downwards >= 999 * one_table);
  CHECK(downwards <= 999 * one_table + 2 * 8 * 2 * 1'000);
  const auto upwards = allocated([&] {
    for (std::uint64_t gib = 1; gib != 1'000; ++gib) CHECK(all.insert(at(high + gib * GiB, 1)));
  });
  CHECK(upwards <= 999 * one_table + 2 * 8 * 4 * 1'000);
  // Far below, an entry for each GiB between them is all that is added.
  CHECK(allocated([&] { CHECK(all.insert(at(0, 1))); }) <= one_table + 16 * 131'072);
  CHECK(all.size() == 2'001);
}

TEST_CASE("without memory for a table, or the list of them, nothing is inserted") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  table all;
  REQUIRE(all.insert(at(high, 1)));
  const auto far = at(high + 5 * GiB - block, 600);  // over three GiB
  std::uint64_t failed = 0;
  for (std::uint64_t n = 1; n != 9; ++n) {
    tether_test::failing_allocation = n;
    const bool done = all.insert(far);
    tether_test::failing_allocation = 0;
    if (done) break;
    ++failed;
    REQUIRE(all.size() == 1);
    REQUIRE(all.first_in(extent<host_address>::everything()) == at(high, 1));
    REQUIRE(!all.first_in(far.host));
    REQUIRE(!found(all, far.host.first.value, 1));
  }
  CHECK(failed != 0);
  CHECK(failed <= 4);
  CHECK(all.size() == 2);
  CHECK(found(all, far.host.first.value, 600 * block) == far.first);
}

TEST_CASE("an address that no process has is refused, and the highest that one may have is taken") {
  constexpr std::uint64_t end = std::uint64_t{1} << 57U;
  table all;
  CHECK(!all.insert(at(end, 1)));
  CHECK(!all.insert(at(end - block, 2)));
  CHECK(!all.insert(at(~(block - 1), 1)));
  CHECK(all.size() == 0);
  REQUIRE(all.insert(at(end - 2 * block, 2)));
  CHECK(found(all, end - 1, 1) == io_address{end + GiB - 1});
  CHECK(!found(all, end - 1, 2));
  CHECK(!found(all, end, 1));
  CHECK(!found(all, ~std::uint64_t{0}, 1));
}

TEST_CASE("a table that was moved from is empty, and takes buffers again") {
  table all;
  REQUIRE(all.insert(at(high, 3)));
  table other{std::move(all)};
  CHECK(all.size() == 0);
  CHECK(!found(all, high, 1));
  CHECK(other.size() == 1);
  REQUIRE(all.insert(at(high - 7 * GiB, 1)));
  other = std::move(all);
  CHECK(found(other, high - 7 * GiB, block) == io_address{high - 6 * GiB});
  CHECK(!found(other, high, 1));
}

}  // namespace runtime_backend_direct_lookup
