// SPDX-License-Identifier: BSL-1.0
#include <laws/memory_listener.hpp>

#include <tether/backend/software_iommu.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/detail/listener_table.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <tuple>
#include <vector>

namespace laws_memory_listener {

using namespace tether;

namespace {

struct recorder_subject {
  ram_block block = tether_test::must(ram_block::allocate("ram", 64 * KiB));
  tether_test::listener_recorder recorder;

  tether_test::listener_recorder& listener() { return recorder; }
  [[nodiscard]] std::vector<section> state() const { return recorder.mapped(); }
  [[nodiscard]] bool reaches(section const& one) const {
    const auto all = state();
    return std::find(all.begin(), all.end(), one) != all.end();
  }
  void refuse_next_commit() { recorder.refuse_at = 1; }
  [[nodiscard]] section ram(std::uint64_t first, std::uint64_t pages) const {
    return {extent<guest_address>::of(guest_address{first * 4096}, pages * 4096).value(),
            &block.backing(),
            block_offset{first * 4096},
            region_kind::ram,
            false,
            false,
            "ram"};
  }
};

/// The same, as the address space calls it.
struct handle_subject : recorder_subject {
  detail::listener_handle handle{recorder};
  detail::listener_handle& listener() { return handle; }
};

/// The listener itself, with an IOMMU that really translates: its state is what a device can do to
/// each page.
template <class Granularity, class Feed>
struct dma_subject {
  static constexpr std::uint64_t page = 4 * KiB;
  static constexpr std::uint64_t out_of_reach = 16 * MiB;

  ram_block block = tether_test::must(ram_block::allocate("ram", 64 * KiB));
  ram_block device_memory = tether_test::must(
      ram_block::borrow("bar", block.backing().host(), 64 * KiB, memory_kind::device));
  journal book;
  recording<software_iommu> iommu{
      book, software_iommu{{.usable = {{io_address{0}, io_address{out_of_reach - 1}}}}}};
  detail::joined_endpoint_group joined =
      tether_test::must(iommu.join(endpoint_group{"group", {{"device", pin_class::pins}}}));
  software_device device = tether_test::must(iommu.open(joined, "device"));
  std::mutex mutex;
  dma_listener<recording<software_iommu>, Granularity, trim_edges, no_observation, std::mutex, Feed>
      told{iommu, mutex};

  auto& listener() { return told; }
  /// By page: what the device reads there, and whether it may write.
  [[nodiscard]] std::vector<std::tuple<std::uint64_t, std::byte, bool>> state() {
    std::vector<std::tuple<std::uint64_t, std::byte, bool>> all;
    for (std::uint64_t at = 0; at != 64 * KiB; at += page) {
      std::byte seen{};
      block.data()[at] = static_cast<std::byte>(at / page + 1);
      if (!device.dma_read(io_address{at}, {&seen, 1})) continue;
      all.emplace_back(at, seen, device.dma_write(io_address{at}, {&seen, 1}).has_value());
    }
    return all;
  }
  [[nodiscard]] bool reaches(section const& one) {
    std::uint64_t pages = 0;
    for (auto const& [at, seen, writable] : state())
      pages += one.where.contains(guest_address{at}) ? 1U : 0U;
    return pages * page == one.where.size();
  }
  void refuse_next_commit() {
    book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  }
  [[nodiscard]] section ram(std::uint64_t first, std::uint64_t pages) const {
    return {extent<guest_address>::of(guest_address{first * page}, pages * page).value(),
            &block.backing(),
            block_offset{first * page},
            region_kind::ram,
            false,
            false,
            "ram"};
  }
  [[nodiscard]] section bar(std::uint64_t first, std::uint64_t pages) const {
    return {
        extent<guest_address>::of(guest_address{out_of_reach + first * page}, pages * page).value(),
        &device_memory.backing(),
        block_offset{0},
        region_kind::ram_device,
        false,
        false,
        "bar"};
  }
  [[nodiscard]] section hopeless(std::uint64_t pages) const {
    section far = bar(32, pages);
    far.memory = &block.backing();
    far.kind = region_kind::ram;
    far.name = "far";
    return far;
  }
  [[nodiscard]] std::vector<std::tuple<std::uint64_t, std::uint64_t>> left_out() const {
    std::vector<std::tuple<std::uint64_t, std::uint64_t>> all;
    for (left_out_section const& one : told.left_out())
      all.emplace_back(one.what.where.first.value, one.what.where.last.value);
    return all;
  }
};
using judged_subject = dma_subject<whole_section, detail::checked_feed>;
static_assert(foretells<dma_listener<software_iommu, whole_section, trim_edges, no_observation,
                                     std::mutex, detail::trusted_feed>>);
using trusted_subject = dma_subject<fixed_block<8 * KiB>, detail::trusted_feed>;

}  // namespace

TEST_CASE_TEMPLATE("memory_listener keeps its laws", Subject, recorder_subject, handle_subject,
                   judged_subject, trusted_subject) {
  laws::check_memory_listener<Subject>();
}

}  // namespace laws_memory_listener
