// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/type1_info.hpp>

#include <doctest/doctest.h>

#include <linux/vfio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace runtime_backend_vfio_type1_info {

using namespace tether;
using namespace tether::detail;

namespace {

constexpr page_sizes host{4 * KiB};

/// An answer as the kernel would write it, and the places to spoil in it.
struct answer {
  std::vector<std::byte> bytes;
  std::size_t ranges = 0;
  std::size_t migration = 0;
  std::size_t available = 0;

  template <class T>
  void append(T const& part) {
    const auto* const at = reinterpret_cast<std::byte const*>(&part);
    bytes.insert(bytes.end(), at, at + sizeof part);
  }
  template <class T>
  void put(std::size_t at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
};

answer good(std::vector<std::pair<std::uint64_t, std::uint64_t>> const& ranges = {
                {0, 0xfedf'ffff}, {0xfef0'0000, 0x7f'ffff'ffff}}) {
  answer all;
  vfio_iommu_type1_info info{};
  info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
  info.iova_pgsizes = 0x4020'1000;
  info.cap_offset = sizeof info;
  all.append(info);
  all.ranges = all.bytes.size();
  // Its struct ends in an array of no elements, so it is written in parts.
  const auto size =
      sizeof(vfio_iommu_type1_info_cap_iova_range) + ranges.size() * sizeof(vfio_iova_range);
  all.append(vfio_info_cap_header{VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1,
                                  static_cast<std::uint32_t>(all.ranges + size)});
  all.append(std::array<std::uint32_t, 2>{static_cast<std::uint32_t>(ranges.size()), 0});
  for (auto const& [first, last] : ranges) all.append(vfio_iova_range{first, last});
  all.migration = all.bytes.size();
  vfio_iommu_type1_info_cap_migration migration{};
  migration.header = {VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1,
                      static_cast<std::uint32_t>(all.migration + sizeof migration)};
  migration.pgsize_bitmap = 4 * KiB;
  migration.max_dirty_bitmap_size = 256 * MiB;
  all.append(migration);
  all.available = all.bytes.size();
  vfio_iommu_type1_info_dma_avail available{};
  available.header = {VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0};
  available.avail = 65530;
  all.append(available);
  all.put(0, static_cast<std::uint32_t>(all.bytes.size()));
  return all;
}

bool malformed(std::span<std::byte const> bytes) {
  const auto read = parse_type1_info(bytes, host);
  return !read && read.error().is(errc::bad_descriptor);
}

}  // namespace

TEST_CASE("all that a type1 container says of itself is read") {
  const auto read = parse_type1_info(good().bytes, host);
  REQUIRE(read);
  CHECK(read->page_sizes.mask == 0x4020'1000);
  REQUIRE(read->usable.size() == 2);
  CHECK(read->usable[0] == extent<io_address>{io_address{0}, io_address{0xfedf'ffff}});
  CHECK(read->usable[1] == extent<io_address>{io_address{0xfef0'0000}, io_address{0x7f'ffff'ffff}});
  CHECK(read->available == 65530U);
}

TEST_CASE(
    "a kernel that says less is understood: everything is usable, and the count is not known") {
  auto said = good();
  said.put(offsetof(vfio_iommu_type1_info, flags), std::uint32_t{VFIO_IOMMU_INFO_PGSIZES});
  auto read = parse_type1_info(said.bytes, host);
  REQUIRE(read);
  CHECK(read->usable == std::vector{extent<io_address>::everything()});
  CHECK(!read->available);

  said.put(offsetof(vfio_iommu_type1_info, flags), std::uint32_t{0});
  read = parse_type1_info(said.bytes, host);
  REQUIRE(read);
  CHECK(read->page_sizes == host);

  // Before Linux 5.4 the struct ended behind the page sizes.
  said.bytes.resize(16);
  said.put(0, std::uint32_t{16});
  said.put(offsetof(vfio_iommu_type1_info, flags), std::uint32_t{VFIO_IOMMU_INFO_PGSIZES});
  CHECK(parse_type1_info(said.bytes, host));

  auto no_chain = good();
  no_chain.put(offsetof(vfio_iommu_type1_info, cap_offset), std::uint32_t{0});
  CHECK(parse_type1_info(no_chain.bytes, host));
}

TEST_CASE("a capability that nobody knows yet is passed over") {
  auto said = good();
  said.put(said.migration, std::uint16_t{77});
  const auto read = parse_type1_info(said.bytes, host);
  REQUIRE(read);
  CHECK(read->available == 65530U);
}

TEST_CASE(
    "a capability in another version refuses nothing, but for the ranges: only they tell what is "
    "usable") {
  constexpr auto version = offsetof(vfio_info_cap_header, version);
  const auto newer = [&](std::size_t at) {
    auto said = good();
    said.put(at + version, std::uint16_t{2});
    return parse_type1_info(said.bytes, host);
  };
  const auto migration = newer(good().migration);
  REQUIRE(migration);
  CHECK(migration->available == 65530U);
  const auto available = newer(good().available);
  REQUIRE(available);
  CHECK(available->usable.size() == 2);
  CHECK(!available->available);  // the module's limit is used
  const auto ranges = newer(good().ranges);
  REQUIRE(!ranges);
  CHECK(ranges.error().is(errc::unsupported));
  CHECK(ranges.error().sentence().find("version 2") != std::string::npos);
}

TEST_CASE("a range of all 2^64 bytes is a range") {
  const auto read = parse_type1_info(good({{0, ~std::uint64_t{0}}}).bytes, host);
  REQUIRE(read);
  CHECK(read->usable == std::vector{extent<io_address>::everything()});
}

TEST_CASE("every malformed capability chain is an error, and none is a crash") {
  const auto whole = good();
  constexpr auto next = offsetof(vfio_info_cap_header, next);
  const auto spoilt = [&](std::size_t at, auto value) {
    answer said = whole;
    said.put(at, value);
    return malformed(said.bytes);
  };
  SUBCASE("cut off anywhere") {
    for (std::size_t size = 0; size < whole.bytes.size(); ++size)
      CHECK(malformed(std::span{whole.bytes}.first(size)));
  }
  SUBCASE("argsz that ends before the chain does") {
    for (std::uint32_t size = 0; size < whole.bytes.size(); ++size) CHECK(spoilt(0, size));
  }
  SUBCASE("an offset into the struct itself, or past the end") {
    for (std::uint32_t offset = 1; offset < 20; ++offset)
      CHECK(spoilt(offsetof(vfio_iommu_type1_info, cap_offset), offset));
    for (const std::uint32_t offset : {static_cast<std::uint32_t>(whole.bytes.size()), 0x7fff'ffffU,
                                       0xffff'fff0U, 0xffff'ffffU}) {
      CHECK(spoilt(offsetof(vfio_iommu_type1_info, cap_offset), offset));
      CHECK(spoilt(whole.ranges + next, offset));
    }
  }
  SUBCASE("a chain that goes round, back or nowhere") {
    CHECK(spoilt(whole.available + next, static_cast<std::uint32_t>(whole.ranges)));
    CHECK(spoilt(whole.available + next, static_cast<std::uint32_t>(whole.available)));
    CHECK(spoilt(whole.migration + next, static_cast<std::uint32_t>(whole.migration)));
    CHECK(spoilt(whole.migration + next, static_cast<std::uint32_t>(whole.migration + 1)));
    CHECK(spoilt(whole.ranges + next, std::uint32_t{4}));
  }
  SUBCASE("ranges that do not fit, overlap, run backwards, or are none") {
    const auto count = whole.ranges + offsetof(vfio_iommu_type1_info_cap_iova_range, nr_iovas);
    for (const std::uint32_t many : {0U, 8U, 0x1000'0000U, 0xffff'ffffU})
      CHECK(spoilt(count, many));
    CHECK(malformed(good({{0x2000, 0x1fff}}).bytes));
    CHECK(malformed(good({{0, 0x1fff}, {0x1fff, 0x2fff}}).bytes));
    CHECK(malformed(good({{0x4000, 0x4fff}, {0, 0x1fff}}).bytes));
    CHECK(malformed(good({{0, ~std::uint64_t{0}}, {0, 0}}).bytes));
  }
  SUBCASE("no page size at all") {
    CHECK(spoilt(offsetof(vfio_iommu_type1_info, iova_pgsizes), std::uint64_t{0}));
  }
}

TEST_CASE("random bytes are read or refused, and what is read is sorted and disjoint") {
  std::mt19937_64 random{20180817};
  const auto holds = [](vfio_type1_info const& info) {
    for (std::size_t i = 0; i < info.usable.size(); ++i) {
      if (info.usable[i].last < info.usable[i].first) return false;
      if (i != 0 && info.usable[i].first <= info.usable[i - 1].last) return false;
    }
    return !info.usable.empty() && !info.page_sizes.empty();
  };
  std::size_t read_at_all = 0;
  for (int round = 0; round < 20'000; ++round) {
    // An exact allocation, so that a sanitizer sees every byte past the end.
    answer said = good();
    if (round % 4 == 0) {
      said.bytes.resize(random() % 200);
      for (auto& one : said.bytes) one = static_cast<std::byte>(random());
    } else {
      for (auto flips = 1 + random() % 6; flips != 0; --flips)
        said.bytes[random() % said.bytes.size()] = static_cast<std::byte>(random());
    }
    const std::vector<std::byte> exact{said.bytes.begin(), said.bytes.end()};
    const auto read = parse_type1_info(exact, host);
    if (!read) continue;
    ++read_at_all;
    if (!holds(*read)) FAIL("round " << round);
  }
  CHECK(read_at_all > 100);
}

}  // namespace runtime_backend_vfio_type1_info
