// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/region.hpp>

#include <support/fake_vfio_device.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace runtime_backend_vfio_region {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

constexpr std::size_t chain = sizeof(vfio_region_info);
constexpr std::size_t sparse = chain + sizeof(vfio_info_cap_header);
constexpr std::size_t first_area = sparse + sizeof(vfio_region_info_cap_sparse_mmap);

/// What the kernel says of the BAR with a table in it.
std::vector<std::byte> good() {
  std::vector<std::byte> bytes(first_area + tether_test::fake_areas.size() *
                                                sizeof(vfio_region_sparse_mmap_area));
  vfio_region_info info{};
  info.argsz = static_cast<std::uint32_t>(bytes.size());
  info.index = VFIO_PCI_BAR2_REGION_INDEX;
  std::memcpy(bytes.data(), &info, sizeof info);
  CHECK(tether_test::control_fake_device(VFIO_DEVICE_GET_REGION_INFO, bytes.data()) == 0);
  return bytes;
}
template <class T>
std::vector<std::byte> with(std::size_t at, T value) {
  auto bytes = good();
  std::memcpy(bytes.data() + at, &value, sizeof value);
  return bytes;
}
bool malformed(std::span<std::byte const> bytes) {
  const auto read = parse_region(bytes);
  return !read && read.error().is(errc::bad_descriptor);
}

}  // namespace

TEST_CASE("the areas of a region are those that the kernel lists, without the empty ones") {
  const auto read = must(parse_region(good()));
  CHECK(read.region.size == tether_test::fake_sparse_bar_size);
  CHECK(read.region.offset == tether_test::fake_sparse_bar);
  CHECK(read.region.mappable);
  CHECK(read.areas == std::vector<vfio_area>{{0, 8 * KiB}, {20 * KiB, 12 * KiB}});
  const auto none = must(parse_region(with(sparse + 8, std::uint32_t{0})));
  CHECK(none.areas.empty());
}

TEST_CASE("without the capability a mappable region is one area, and any other none") {
  constexpr auto flags = offsetof(vfio_region_info, flags);
  const vfio_area whole{0, tether_test::fake_sparse_bar_size};
  constexpr std::uint32_t no_caps = VFIO_REGION_INFO_FLAG_MMAP;
  constexpr std::uint32_t not_mappable = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_CAPS;
  CHECK(must(parse_region(with(flags, no_caps))).areas == std::vector{whole});
  CHECK(must(parse_region(with(flags, not_mappable))).areas.empty());
  CHECK(must(parse_region(with(sparse, std::uint16_t{77}))).areas == std::vector{whole});
  CHECK(must(parse_region(with(chain + 2, std::uint16_t{2}))).areas.size() == 2);  // not ours
  const auto newer = parse_region(with(sparse + 2, std::uint16_t{2}));
  REQUIRE(!newer);
  CHECK(newer.error().is(errc::unsupported));
  CHECK(newer.error().sentence().find("read_region()") != std::string::npos);
}

TEST_CASE("areas that do not lie in the region or in the answer are malformed") {
  const auto whole = good();
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK(malformed(std::span{whole}.first(size)));
  for (std::uint32_t size = 0; size < whole.size(); ++size) CHECK(malformed(with(0, size)));
  for (const std::uint32_t count : {4U, 0x1000'0000U, 0xffff'ffffU})
    CHECK(malformed(with(sparse + 8, count)));
  for (const std::uint64_t beyond : {32 * KiB + 1, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    CHECK(malformed(with(first_area, beyond)));
    CHECK(malformed(with(first_area + 8, beyond)));
  }
}

TEST_CASE("random bytes are read or refused, and each area that is read lies in its region") {
  std::mt19937_64 random{20260101};
  std::size_t read_at_all = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto said = good();
    for (auto flips = 1 + random() % 6; flips != 0; --flips)
      said[random() % said.size()] = static_cast<std::byte>(random());
    const std::vector<std::byte> exact{said.begin(), said.end()};
    const auto read = parse_region(exact);
    if (!read) continue;
    ++read_at_all;
    for (vfio_area const& one : read->areas) {
      if (one.size == 0 || one.offset > read->region.size ||
          one.size > read->region.size - one.offset)
        FAIL("round " << round);
    }
  }
  CHECK(read_at_all > 100);
}

}  // namespace runtime_backend_vfio_region
