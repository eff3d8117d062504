// SPDX-License-Identifier: BSL-1.0
// The laws of the concept `backend`, for every model that takes groups (`attach_unit::group`) and
// whose devices are DMA engines. One of single devices has no groups to join: in tether's sources
// test/laws/iommufd.cpp asks those laws of it that need none. A rig makes a backend:
//
//     struct rig {
//       using backend_type = ...;
//       static result<backend_type> make(laws::limits const&);
//     };
#pragma once

#include "support/pinned_memory.hpp"
#include "support/skip.hpp"

#include <tether/backend/concepts.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace tether::laws {

/// A small IOMMU: eight mappings; two ranges that touch, a hole, a third range.
struct limits {
  std::uint32_t budget = 8;
  std::vector<extent<io_address>> usable{{io_address{0}, io_address{64 * MiB - 1}},
                                         {io_address{64 * MiB}, io_address{128 * MiB - 1}},
                                         {io_address{256 * MiB}, io_address{0xffff'ffff'ffff}}};
};

[[nodiscard]] inline extent<io_address> bytes_at(std::uint64_t first, std::uint64_t size) {
  return {io_address{first}, io_address{first + (size - 1)}};
}

[[nodiscard]] inline endpoint_group passthrough_group() {
  return {"passthrough", {{"nic", pin_class::pins}, {"disk", pin_class::pins}}};
}
[[nodiscard]] inline endpoint_group mediated_group() {
  return {"mediated", {{"vgpu", pin_class::pins_on_demand}, {"vdsa", pin_class::pins_on_demand}}};
}
[[nodiscard]] inline endpoint_group mixed_group() {
  return {"mixed", {{"nic", pin_class::pins}, {"vgpu", pin_class::pins_on_demand}}};
}

/// What a failed check prints of an answer: the cause, and whether its roll-back failed.
inline const doctest::String success = "success";
[[nodiscard]] inline doctest::String told(std::error_code why) {
  return (std::string{why.category().name()} + ": " + why.message()).c_str();
}
[[nodiscard]] inline doctest::String told(errc why) { return told(make_error_code(why)); }
template <class T>
[[nodiscard]] doctest::String told(result<T> const& answer) {
  if (answer) return success;
  return told(answer.error().code()) +
         (answer.error().rollback_failed() ? ", and the roll-back failed" : "");
}

/// The groups of the laws are `endpoint_group`s, which a backend's own type is made from.
template <class Backend>
inline constexpr bool joins_endpoint_groups =
    requires(Backend& iommu, endpoint_group const& group) { iommu.join(group); };

/// A backend with real memory, one joined group and one open device.
template <class Rig>
struct bench {
  using backend_type = typename Rig::backend_type;
  using joined_group = typename backend_type::joined_group;
  using device_type = typename backend_type::device_type;

  explicit bench(endpoint_group group = passthrough_group(), limits small = {})
      : iommu{Rig::make(small).value()},
        joined{iommu.join(group).value()},
        device{iommu.open(joined, group.endpoints().front().name).value()} {}

  [[nodiscard]] result<void> write(std::uint64_t at, std::span<std::byte const> bytes) {
    return device->dma_write(io_address{at}, bytes);
  }
  [[nodiscard]] result<void> read(std::uint64_t at, std::span<std::byte> bytes) {
    return device->dma_read(io_address{at}, bytes);
  }
  /// Whether DMA reaches `offset` of the memory at `at`, both ways.
  [[nodiscard]] bool reaches(std::uint64_t at, std::uint64_t offset) {
    std::array<std::byte, 16> sent{};
    std::array<std::byte, 16> seen{};
    sent.fill(next_pattern());
    const auto there = memory.bytes().subspan(offset, sent.size());
    if (!write(at, sent) || !std::ranges::equal(there, sent)) return false;
    std::ranges::fill(there, next_pattern());
    return read(at, seen) && std::ranges::equal(there, seen);
  }
  /// Checks that DMA at `at` is refused with `why`, both ways. Whether it moves nothing.
  [[nodiscard]] bool refuses(std::uint64_t at, std::size_t size, errc why) {
    const std::vector<std::byte> memory_before{memory.bytes().begin(), memory.bytes().end()};
    std::vector<std::byte> bytes(size, next_pattern());
    const auto bytes_before = bytes;
    const auto written = write(at, bytes);
    const auto seen = read(at, bytes);
    CAPTURE(at);
    CHECK(told(written) == told(why));
    CHECK(told(seen) == told(why));
    return bytes == bytes_before && std::ranges::equal(memory_before, memory.bytes());
  }
  std::byte next_pattern() { return std::byte{++pattern}; }

  std::uint64_t page = tether_test::host_page();
  tether_test::host_memory memory{16 * page};
  backend_type iommu;
  joined_group joined;
  std::optional<device_type> device;
  unsigned char pattern = 0;
};

template <class Rig>
void dma_reaches_what_is_mapped_and_only_that() {
  bench<Rig> b;
  const auto page = b.page;
  REQUIRE(told(b.iommu.map(b.memory.at(0, 2 * page, 4 * page))) == success);
  CHECK(b.reaches(0, 2 * page));
  CHECK(b.reaches(4 * page - 16, 6 * page - 16));
  CHECK(b.reaches(page + 3, 3 * page + 3));
  CHECK(b.refuses(4 * page, 16, errc::not_mapped));
  CHECK(b.refuses(4 * page - 8, 16, errc::not_mapped));
  CHECK(b.refuses(64 * MiB, 1, errc::not_mapped));
  CHECK(b.refuses(std::numeric_limits<std::uint64_t>::max(), 2, errc::invalid_extent));
  CHECK(told(b.write(0x1234, {})) == success);
  REQUIRE(told(b.iommu.unmap(bytes_at(0, 4 * page))) == success);
  CHECK(b.refuses(0, 16, errc::not_mapped));
}

template <class Rig>
void dma_crosses_adjacent_mappings_wherever_their_memory_lies() {
  bench<Rig> b;
  const auto page = b.page;
  REQUIRE(told(b.iommu.map(b.memory.at(page, 0, page))) == success);
  REQUIRE(told(b.iommu.map(b.memory.at(0, 8 * page, page))) == success);
  REQUIRE(told(b.iommu.map(b.memory.at(2 * page, 4 * page, 2 * page, access::write))) == success);
  std::vector<std::byte> sent(3 * page);
  for (std::size_t i = 0; i < sent.size(); ++i)
    sent[i] = static_cast<std::byte>(i * 7 + i / page + 1);
  REQUIRE(told(b.write(100, sent)) == success);
  const auto sent_at = [&](std::size_t from, std::size_t size) {
    return std::span{sent}.subspan(from, size);
  };
  CHECK(std::ranges::equal(b.memory.bytes().subspan(8 * page + 100, page - 100),
                           sent_at(0, page - 100)));
  CHECK(std::ranges::equal(b.memory.bytes().subspan(0, page), sent_at(page - 100, page)));
  CHECK(std::ranges::equal(b.memory.bytes().subspan(4 * page, page + 100),
                           sent_at(2 * page - 100, page + 100)));
  std::vector<std::byte> seen(2 * page);
  REQUIRE(told(b.read(0, seen)) == success);
  CHECK(std::ranges::equal(std::span{seen}.subspan(100), sent_at(0, 2 * page - 100)));
  // The third is write-only: a read that reaches into it moves nothing, not even from the first
  // two.
  const auto seen_before = seen;
  const auto refused = b.read(page, std::span{seen}.first(page + 1));
  REQUIRE(!refused);
  CHECK(told(refused) == told(errc::access_denied));
  CHECK(seen == seen_before);
}

template <class Rig>
void rights_hold_for_each_mapping() {
  bench<Rig> b;
  const auto page = b.page;
  REQUIRE(told(b.iommu.map(b.memory.at(0, 0, page, access::read))) == success);
  REQUIRE(told(b.iommu.map(b.memory.at(2 * page, page, page, access::write))) == success);
  std::array<std::byte, 8> bytes{};
  CHECK(told(b.read(0, bytes)) == success);
  const auto to_read_only = b.write(0, bytes);
  REQUIRE(!to_read_only);
  CHECK(told(to_read_only) == told(errc::access_denied));
  CHECK(told(b.write(2 * page, bytes)) == success);
  const auto from_write_only = b.read(2 * page, bytes);
  REQUIRE(!from_write_only);
  CHECK(told(from_write_only) == told(errc::access_denied));
  const auto none = b.iommu.map(b.memory.at(4 * page, 2 * page, page, access::none));
  REQUIRE(!none);
  CHECK(told(none) == told(errc::access_denied));
}

template <class Rig>
void an_overlap_is_refused_and_changes_nothing() {
  bench<Rig> b;
  const auto page = b.page;
  REQUIRE(told(b.iommu.map(b.memory.at(4 * page, 0, 2 * page))) == success);
  const auto free = b.iommu.free_mappings();
  for (auto const& [first, size] : {std::pair{4 * page, 2 * page},
                                    {4 * page, page},
                                    {5 * page, page},
                                    {3 * page, 2 * page},
                                    {5 * page, 2 * page},
                                    {3 * page, 4 * page}}) {
    const auto refused = b.iommu.map(b.memory.at(first, 8 * page, size));
    REQUIRE(!refused);
    CHECK(told(refused) == told(errc::overlaps));
    CHECK(!refused.error().rollback_failed());
    CHECK(refused.error().first() == first);
  }
  CHECK(b.iommu.free_mappings() == free);
  CHECK(b.reaches(4 * page, 0));
  CHECK(b.refuses(3 * page, 16, errc::not_mapped));
  CHECK(b.refuses(6 * page, 16, errc::not_mapped));
}

template <class Rig>
void an_unmap_that_would_cut_or_hit_a_hole_removes_nothing() {
  bench<Rig> b;
  const auto page = b.page;
  REQUIRE(told(b.iommu.map(b.memory.at(2 * page, 0, page))) == success);
  REQUIRE(told(b.iommu.map(b.memory.at(3 * page, 4 * page, 2 * page))) == success);
  REQUIRE(told(b.iommu.map(b.memory.at(6 * page, 8 * page, 2 * page))) == success);
  const auto free = b.iommu.free_mappings();
  const auto refused = [&](std::uint64_t first, std::uint64_t size) {
    return told(b.iommu.unmap(bytes_at(first, size)));
  };
  CHECK(refused(3 * page, page) == told(errc::cuts_a_mapping));
  CHECK(refused(4 * page, page) == told(errc::cuts_a_mapping));
  CHECK(refused(2 * page, 2 * page) == told(errc::cuts_a_mapping));
  CHECK(refused(2 * page, 5 * page) == told(errc::cuts_a_mapping));
  CHECK(refused(7 * page, page) == told(errc::cuts_a_mapping));
  CHECK(refused(0, page) == told(errc::not_mapped));
  CHECK(refused(5 * page, page) == told(errc::not_mapped));
  CHECK(refused(page, 2 * page) == told(errc::not_mapped));
  CHECK(refused(2 * page, 6 * page) == told(errc::not_mapped));
  CHECK(refused(6 * page, 3 * page) == told(errc::not_mapped));
  CHECK(refused(0, 0) == told(errc::not_mapped));  // everything, while there are holes
  CHECK(!b.iommu.unmap({io_address{3 * page}, io_address{2 * page}}));
  CHECK(b.iommu.free_mappings() == free);
  CHECK(b.reaches(2 * page, 0));
  CHECK(b.reaches(3 * page, 4 * page));
  CHECK(b.reaches(6 * page, 8 * page));
}

template <class Rig>
void a_run_of_whole_mappings_is_unmapped_by_one_call() {
  bench<Rig> b;
  const auto page = b.page;
  for (std::uint64_t i = 0; i < 5; ++i)
    REQUIRE(told(b.iommu.map(b.memory.at(i * page, (7 - i) * page, page))) == success);
  REQUIRE(told(b.iommu.unmap(bytes_at(page, 3 * page))) == success);
  CHECK(b.iommu.free_mappings() == 6);
  CHECK(b.reaches(0, 7 * page));
  CHECK(b.reaches(4 * page, 3 * page));
  for (std::uint64_t i = 1; i < 4; ++i) CHECK(b.refuses(i * page, 16, errc::not_mapped));
  CHECK(told(b.iommu.map(b.memory.at(page, 0, 3 * page))) == success);
  CHECK(b.reaches(3 * page, 2 * page));
}

template <class Rig>
void the_budget_is_exact() {
  bench<Rig> b;
  const auto page = b.page;
  REQUIRE(b.iommu.free_mappings() == 8);
  for (std::uint64_t i = 0; i < 8; ++i) {
    REQUIRE(told(b.iommu.map(b.memory.at(2 * i * page, i * page, page))) == success);
    CHECK(b.iommu.free_mappings() == 7 - i);
  }
  const auto refused = b.iommu.map(b.memory.at(32 * page, 8 * page, page));
  REQUIRE(!refused);
  CHECK(told(refused) == told(errc::over_budget));
  CHECK(b.refuses(32 * page, 16, errc::not_mapped));
  REQUIRE(told(b.iommu.unmap(bytes_at(6 * page, page))) == success);
  CHECK(b.iommu.free_mappings() == 1);
  CHECK(told(b.iommu.map(b.memory.at(32 * page, 8 * page, page))) == success);
}

template <class Rig>
void a_mapping_lies_within_one_usable_range() {
  bench<Rig> b;
  const auto page = b.page;
  const auto ranges = std::span<extent<io_address> const>{b.iommu.usable_iova()};
  REQUIRE(ranges.size() == 3);
  constexpr std::uint64_t past_the_last = 0x1'0000'0000'0000;
  for (const std::uint64_t first :
       {128 * MiB, 200 * MiB, 128 * MiB - page, 256 * MiB - page, 64 * MiB - page, past_the_last}) {
    const auto refused = b.iommu.map(b.memory.at(first, 0, 2 * page));
    REQUIRE(!refused);
    CHECK(told(refused) == told(errc::outside_aperture));
    CHECK(refused.error().sentence().find("I/O virtual") != std::string::npos);
  }
  CHECK(b.iommu.free_mappings() == 8);
  for (auto const& range : ranges) {
    CHECK(told(b.iommu.map(b.memory.at(range.first.value, 0, page))) == success);
    CHECK(told(b.iommu.map(b.memory.at(range.last.value - (page - 1), page, page))) == success);
    CHECK(b.reaches(range.last.value - 15, 2 * page - 16));
  }
}

template <class Rig>
void what_is_no_mapping_is_refused_and_leaves_nothing() {
  bench<Rig> b;
  const auto page = b.page;
  const auto refused = [&](mapping const& what) { return told(b.iommu.map(what)); };
  CHECK(refused(b.memory.at(1, 0, page)) == told(errc::not_aligned));
  CHECK(refused(b.memory.at(0, 0, page / 2)) == told(errc::not_aligned));
  CHECK(refused(b.memory.at(0, 8, page)) == told(errc::not_aligned));
  CHECK(refused(b.memory.at(page / 2, page / 2, page)) == told(errc::not_aligned));
  CHECK(refused({{io_address{2 * page}, io_address{page - 1}}, b.memory.host()}) ==
        told(errc::invalid_extent));
  CHECK(refused({bytes_at(0, 4 * page), host_address{0 - 2 * page}}) == told(errc::invalid_extent));
  const auto all = refused({extent<io_address>::everything(), host_address{0}});
  CAPTURE(all);
  CHECK((all == told(errc::outside_aperture) || all == told(errc::over_budget)));
  CHECK(b.iommu.free_mappings() == 8);
  CHECK(b.refuses(0, 16, errc::not_mapped));
  CHECK(told(b.iommu.map(b.memory.at(0, 0, page))) == success);
  CHECK(told(b.iommu.map(b.memory.at(page, page, page))) == success);
  for (const std::uint64_t first : {page, 2 * page}) {
    const auto inside_out = b.iommu.unmap({io_address{first}, io_address{page - 1}});
    REQUIRE(!inside_out);
    CHECK(told(inside_out) == told(errc::invalid_extent));
    CHECK_FALSE(inside_out.error().rollback_failed());
  }
  // it wraps
  CHECK(told(b.iommu.unmap({io_address{page}, io_address{~std::uint64_t{0}} + page})) ==
        told(errc::invalid_extent));
  CHECK(b.iommu.free_mappings() == 6);
  CHECK(b.reaches(0, 0));
  CHECK(b.reaches(page, page));
}

template <class Rig>
void groups_come_and_go_without_touching_a_mapping() {
  bench<Rig> b;
  const auto page = b.page;
  REQUIRE(told(b.iommu.map(b.memory.at(0, 0, page))) == success);
  auto second = b.iommu.join(endpoint_group{"second", {{"gpu", pin_class::pins}}});
  REQUIRE(told(second) == success);
  auto mediated = b.iommu.join(mediated_group());
  REQUIRE(told(mediated) == success);
  CHECK(b.reaches(0, 0));
  REQUIRE(told(b.iommu.leave(*second)) == success);
  CHECK(b.reaches(0, 0));
  REQUIRE(told(b.iommu.leave(*mediated)) == success);
  CHECK(b.reaches(0, 0));
  // The last one leaves: what is recorded stays recorded, and the next to join reaches it.
  REQUIRE(told(b.iommu.close(*b.device)) == success);
  REQUIRE(told(b.iommu.leave(b.joined)) == success);
  CHECK(b.iommu.free_mappings() == 7);
  b.joined = b.iommu.join(passthrough_group()).value();
  b.device = b.iommu.open(b.joined, "disk").value();
  CHECK(b.reaches(0, 0));
}

template <class Rig>
void handles_that_are_stale_or_busy_are_refused_by_name() {
  bench<Rig> b;
  const auto twice = b.iommu.join(passthrough_group());
  REQUIRE(!twice);
  CHECK(told(twice) == told(errc::already_there));
  const auto busy = b.iommu.leave(b.joined);
  REQUIRE(!busy);
  CHECK(told(busy) == told(errc::still_in_use));
  CHECK(busy.error().subject() == "passthrough");
  const auto unknown = b.iommu.open(b.joined, "keyboard");
  REQUIRE(!unknown);
  CHECK(told(unknown) == told(errc::no_such_device));
  CHECK(told(b.iommu.classify(b.joined, "keyboard")) == told(errc::no_such_device));

  REQUIRE(told(b.iommu.map(b.memory.at(0, 0, b.page))) == success);
  REQUIRE(told(b.iommu.close(*b.device)) == success);
  CHECK(b.refuses(0, 16, errc::stale_handle));
  CHECK(told(b.iommu.close(*b.device)) == told(errc::stale_handle));
  REQUIRE(told(b.iommu.leave(b.joined)) == success);
  CHECK(told(b.iommu.leave(b.joined)) == told(errc::stale_handle));
  CHECK(told(b.iommu.open(b.joined, "nic")) == told(errc::stale_handle));
  CHECK(told(b.iommu.classify(b.joined, "nic")) == told(errc::stale_handle));
}

template <class Rig>
void a_device_closes_itself_and_moves_with_its_backend() {
  bench<Rig> b;
  REQUIRE(told(b.iommu.map(b.memory.at(0, 0, b.page))) == success);
  auto moved = std::move(*b.device);
  CHECK(b.refuses(0, 16, errc::stale_handle));
  b.device = std::move(moved);
  auto elsewhere = std::move(b.iommu);
  CHECK(b.reaches(0, 0));
  b.device.reset();
  CHECK(elsewhere.leave(b.joined));
  b.iommu = std::move(elsewhere);
}

template <class Rig>
void a_group_pins_as_soon_as_one_of_its_devices_does() {
  bench<Rig> b;
  auto mixed = b.iommu.join(mixed_group());
  auto mediated = b.iommu.join(mediated_group());
  REQUIRE(told(mixed) == success);
  REQUIRE(told(mediated) == success);
  CHECK(b.iommu.classify(b.joined, "nic").value() == pin_class::pins);
  CHECK(b.iommu.classify(*mixed, "vgpu").value() == pin_class::pins);
  CHECK(b.iommu.classify(*mediated, "vgpu").value() == pin_class::pins_on_demand);
}

/// The bench's own group pins.
template <class Rig>
void it_tells_who_pins_after_every_join_and_leave() {
  if constexpr (reports_pinning<typename Rig::backend_type>) {
    bench<Rig> b;
    CHECK(b.iommu.pins_now());
    auto mediated = b.iommu.join(mediated_group());
    REQUIRE(told(mediated) == success);
    CHECK(b.iommu.pins_now());
    REQUIRE(told(b.iommu.close(*b.device)) == success);
    REQUIRE(told(b.iommu.leave(b.joined)) == success);
    CHECK_FALSE(b.iommu.pins_now());
    auto mixed = b.iommu.join(mixed_group());
    REQUIRE(told(mixed) == success);
    CHECK(b.iommu.pins_now());
    REQUIRE(told(b.iommu.leave(*mixed)) == success);
    REQUIRE(told(b.iommu.leave(*mediated)) == success);
    CHECK_FALSE(b.iommu.pins_now());
  }
}

template <class Rig>
void a_mediated_device_sees_what_the_cpu_sees_with_and_without_company() {
  bench<Rig> b{mediated_group()};
  const auto page = b.page;
  REQUIRE(told(b.iommu.map(b.memory.at(0, page, 4 * page))) == success);
  CHECK(b.reaches(0, page));
  b.memory.discard(page, 4 * page);
  CHECK(b.reaches(0, page));
  CHECK(b.reaches(3 * page, 4 * page));
  auto company = b.iommu.join(passthrough_group());
  REQUIRE(told(company) == success);
  CHECK(b.reaches(2 * page + 5, 3 * page + 5));
  std::vector<std::byte> sent(4 * page, std::byte{0x5a});
  CHECK(told(b.write(0, sent)) == success);
  CHECK(std::ranges::equal(b.memory.bytes().subspan(page, 4 * page), sent));
  REQUIRE(told(b.iommu.leave(*company)) == success);
  CHECK(b.reaches(0, page));
}

template <class Rig>
void abandoning_lets_everything_go_but_what_is_in_use() {
  bench<Rig> b;
  auto second = b.iommu.join(mediated_group());
  REQUIRE(told(second) == success);
  REQUIRE(told(b.iommu.map(b.memory.at(0, 0, b.page))) == success);
  REQUIRE(told(b.iommu.map(b.memory.at(256 * MiB, 4 * b.page, 4 * b.page))) == success);
  const auto busy = b.iommu.abandon();
  REQUIRE(!busy);
  CHECK(told(busy) == told(errc::still_in_use));
  CHECK(busy.error().subject() == "passthrough");
  CHECK(b.reaches(0, 0));
  REQUIRE(told(b.iommu.close(*b.device)) == success);
  REQUIRE(told(b.iommu.abandon()) == success);
  CHECK(b.iommu.free_mappings() == 8);
  CHECK(told(b.iommu.leave(b.joined)) == told(errc::stale_handle));
  CHECK(told(b.iommu.open(*second, "vgpu")) == told(errc::stale_handle));
  CHECK(told(b.iommu.abandon()) == success);
  b.joined = b.iommu.join(passthrough_group()).value();
  b.device = b.iommu.open(b.joined, "nic").value();
  CHECK(b.refuses(0, 16, errc::not_mapped));
}

template <class Rig>
void nothing_is_left_when_it_is_gone() {
  const auto pinned = tether_test::pinned_by_the_kernel();
  const auto descriptors = tether_test::open_descriptors();
  {
    bench<Rig> b;
    REQUIRE(told(b.iommu.map(b.memory.at(0, 0, 8 * b.page))) == success);
    CHECK(tether_test::pinned_by_the_kernel() - pinned ==
          (Rig::backend_type::pins ? 8 * b.page : 0));
    CHECK(b.reaches(0, 0));
    CHECK(told(b.iommu.quiesce()) == success);
  }
  CHECK(tether_test::pinned_by_the_kernel() == pinned);
  CHECK(tether_test::open_descriptors() == descriptors);
}

template <class Rig>
void check_each_law() {
  if (const auto made = Rig::make({}); !made)
    return tether_test::skip_because(made.error().sentence());

  SUBCASE("DMA reaches what is mapped, and only that") {
    dma_reaches_what_is_mapped_and_only_that<Rig>();
  }
  SUBCASE("DMA crosses adjacent mappings") {
    dma_crosses_adjacent_mappings_wherever_their_memory_lies<Rig>();
  }
  SUBCASE("rights hold for each mapping") { rights_hold_for_each_mapping<Rig>(); }
  SUBCASE("an overlap is refused and changes nothing") {
    an_overlap_is_refused_and_changes_nothing<Rig>();
  }
  SUBCASE("an unmap that would cut or hit a hole removes nothing") {
    an_unmap_that_would_cut_or_hit_a_hole_removes_nothing<Rig>();
  }
  SUBCASE("a run of whole mappings is unmapped by one call") {
    a_run_of_whole_mappings_is_unmapped_by_one_call<Rig>();
  }
  SUBCASE("the budget is exact") { the_budget_is_exact<Rig>(); }
  SUBCASE("a mapping lies within one usable range") {
    a_mapping_lies_within_one_usable_range<Rig>();
  }
  SUBCASE("what is no mapping is refused and leaves nothing") {
    what_is_no_mapping_is_refused_and_leaves_nothing<Rig>();
  }
  SUBCASE("groups come and go without touching a mapping") {
    groups_come_and_go_without_touching_a_mapping<Rig>();
  }
  SUBCASE("handles that are stale or busy are refused by name") {
    handles_that_are_stale_or_busy_are_refused_by_name<Rig>();
  }
  SUBCASE("a device closes itself and moves with its backend") {
    a_device_closes_itself_and_moves_with_its_backend<Rig>();
  }
  SUBCASE("a group pins as soon as one of its devices does") {
    a_group_pins_as_soon_as_one_of_its_devices_does<Rig>();
  }
  SUBCASE("it tells who pins after every join and leave") {
    it_tells_who_pins_after_every_join_and_leave<Rig>();
  }
  SUBCASE("a mediated device sees what the CPU sees") {
    a_mediated_device_sees_what_the_cpu_sees_with_and_without_company<Rig>();
  }
  SUBCASE("abandoning lets everything go but what is in use") {
    abandoning_lets_everything_go_but_what_is_in_use<Rig>();
  }
  SUBCASE("nothing is left when it is gone") { nothing_is_left_when_it_is_gone<Rig>(); }
}

/// All of them. A law is a subcase, named after what it guarantees. Requires: a backend of groups.
template <class Rig>
void check_backend() {
  using judged = typename Rig::backend_type;
  constexpr bool of_groups = judged::unit == attach_unit::group;
  constexpr bool joins = joins_endpoint_groups<judged>;
  static_assert(backend<judged>);
  static_assert(of_groups, "laws/backend.hpp judges backends of groups only");
  static_assert(!of_groups || joins,
                "laws/backend.hpp joins groups of its own: give the backend's group_type a "
                "constructor from 'tether::endpoint_group const&' that is not explicit, or judge "
                "a class derived from the backend whose 'join' takes one");
  static_assert(dma_engine<typename judged::device_type>);
  if constexpr (backend<judged> && joins && dma_engine<typename judged::device_type>)
    check_each_law<Rig>();
}

}  // namespace tether::laws
