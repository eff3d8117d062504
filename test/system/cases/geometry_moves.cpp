// SPDX-License-Identifier: BSL-1.0
// Law 13: what a container may do changes when a real device's group joins a mediated one's, and
// again when it leaves. How memory is cut does not change with it, as long as anything is mapped.
// And what does not suit, only the join reveals.
// tier: 1 2
// machine: -device edu
// modules: mdev
#include <system/in_machine.hpp>

namespace system_geometry_moves {

using namespace in_machine;

namespace {

/// The mappings that stand, smallest address first, according to the journal.
std::vector<extent<io_address>> standing(journal const& book) {
  std::vector<extent<io_address>> all;
  for (auto const& entry : book.entries()) {
    if (entry.ended != call_outcome::done || !entry.where) continue;
    if (entry.what == backend_call::map) all.push_back(*entry.where);
    if (entry.what == backend_call::unmap) {
      std::erase_if(all, [&](auto const& one) {
        return entry.where->contains(one.first) && entry.where->contains(one.last);
      });
    }
  }
  std::ranges::sort(all, {}, [](auto const& one) { return one.first.value; });
  return all;
}
/// How many of them lie in [from, from + bytes).
std::uint64_t pieces_in(journal const& book, std::uint64_t from, std::uint64_t bytes) {
  const auto all = standing(book);
  return static_cast<std::uint64_t>(std::ranges::count_if(all, [&](auto const& one) {
    return one.first.value >= from && one.last.value < from + bytes;
  }));
}

bool reaches(std::span<extent<io_address> const> ranges, std::uint64_t at) {
  return std::ranges::any_of(ranges, [&](auto const& one) { return one.contains(io_address{at}); });
}

constexpr std::uint64_t interrupts_at = 0xfee0'0000;
constexpr std::uint64_t very_far = std::uint64_t{1} << 40;

/// A join that reveals that something is mapped where the real group's IOMMU does not reach.
void reveals(std::uint64_t where) {
  auto there = must(ram_block::allocate("there", 64 * page));
  std::ranges::copy(pattern(where, 1, there.size()), there.data());
  mediated_device serial;
  vm_on<recording<vfio_type1>, inhibit_per_group, fixed_block<64 * KiB>> v;
  auto emulated = must(v.dma.attach(serial.group()));
  static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
  // while nothing pins, anything goes
  const auto id = must(v.guest.place(region::ram(there), guest_address{where}));
  const auto usage = v.dma.usage();
  const auto mappings = standing(v.dma.backend().log());
  const auto budget = v.dma.backend().free_mappings();
  CHECK(v.balloon.inflate(frame_numbers(0, 8)).discarded == 8);

  const auto group = group_of(edu_address());
  const auto refused = v.dma.attach(group);
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::outside_aperture));
  CHECK(refused.error().subject() == group.name());
  CHECK(!v.dma.diverged());
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.dma.usage() == usage);
  CHECK(v.dma.membership() == container_counts{1, 1});
  CHECK(standing(v.dma.backend().log()) == mappings);
  CHECK(v.dma.backend().free_mappings() == budget);
  CHECK(v.dma.usable_iova() == std::vector{extent<io_address>::everything()});
  CHECK(locked_by_the_kernel() == 0);
  CHECK(std::ranges::equal(pattern(where, 1, there.size()), std::span{there.data(), there.size()}));
  CHECK(v.balloon.inflate(frame_numbers(0, 8)).discarded == 8);

  // Without it, the same group comes in; and then the same place is refused up front.
  must(v.guest.remove(id));
  auto real = must(v.dma.attach(group));
  const auto plugged = v.guest.place(region::ram(there), guest_address{where});
  REQUIRE(!plugged);
  CHECK(plugged.error().is(errc::outside_aperture));
  CHECK(plugged.error().subject() == "there");
  must(real.detach());
  static_cast<void>(must(v.guest.place(region::ram(there), guest_address{where})));
  must(emulated.detach());
  CHECK(v.gate.counts() == gate_counts{});
}

}  // namespace

TEST_CASE(
    "page sizes and ranges are those of the groups that are in, and are as before when they have "
    "gone") {
  mediated_device serial;
  vfio_type1 iommu;
  auto emulated = must(iommu.join(serial.group()));
  const auto before = iommu.page_sizes();
  CHECK(before.smallest() == page);
  CHECK(std::ranges::equal(iommu.usable_iova(), std::array{extent<io_address>::everything()}));
  for (int round = 0; round < 2; ++round) {
    auto real = must(iommu.join(group_of(edu_address())));
    const auto during = iommu.page_sizes();
    CHECK(during.smallest() == page);
    CHECK(during != before);
    CHECK((during.mask & before.mask) == during.mask);  // each is a size that was there before
    CHECK(reaches(iommu.usable_iova(), interrupts_at - 1));
    CHECK(!reaches(iommu.usable_iova(), interrupts_at));
    CHECK(!reaches(iommu.usable_iova(), very_far));
    must(iommu.leave(real));
    CHECK(iommu.page_sizes() == before);
    CHECK(std::ranges::equal(iommu.usable_iova(), std::array{extent<io_address>::everything()}));
  }
  must(iommu.leave(emulated));
}

TEST_CASE(
    "memory is cut as at the first mapping until nothing is mapped, whoever joins, and unmapped as "
    "it was mapped") {
  // 64 KiB is a page of the mediated group's wide mask, and 16 pages of the real one's.
  constexpr std::uint64_t bytes = 64 * KiB;
  constexpr std::uint64_t first_at = 16 * MiB;
  constexpr std::uint64_t more_at = 32 * MiB;
  auto first = must(ram_block::allocate("first", 2 * MiB));
  auto more = must(ram_block::allocate("more", 2 * MiB));
  const auto aligned = [](ram_block const& block) {  // so that one piece is possible
    return block_offset{(bytes - reinterpret_cast<std::uintptr_t>(block.data()) % bytes) % bytes};
  };
  mediated_device serial;
  vm_on<recording<vfio_type1>, inhibit_per_group, largest_page> v;
  auto& book = v.dma.backend().log();
  const auto first_id =
      must(v.guest.place(region::ram(first, aligned(first), bytes), guest_address{first_at}));

  auto emulated = must(v.dma.attach(serial.group()));
  CHECK(pieces_in(book, first_at, bytes) == 1);
  auto real = must(v.dma.attach(group_of(edu_address())));
  const auto more_id =
      must(v.guest.place(region::ram(more, aligned(more), bytes), guest_address{more_at}));
  CHECK(pieces_in(book, more_at, bytes) == 1);
  must(v.guest.remove(first_id));
  CHECK(pieces_in(book, first_at, bytes) == 0);
  must(emulated.detach());
  static_cast<void>(
      must(v.guest.place(region::ram(first, aligned(first), bytes), guest_address{first_at})));
  CHECK(pieces_in(book, first_at, bytes) == 1);
  must(real.detach());
  CHECK(standing(book).empty());
  CHECK(v.dma.usage().mappings == 0);

  // Anew, and the real one is the first: now its own mask counts, and goes on counting.
  real = must(v.dma.attach(group_of(edu_address())));
  CHECK(pieces_in(book, first_at, bytes) == bytes / page);
  emulated = must(v.dma.attach(serial.group()));
  must(real.detach());
  must(v.guest.remove(more_id));
  static_cast<void>(
      must(v.guest.place(region::ram(more, aligned(more), bytes), guest_address{more_at})));
  CHECK(pieces_in(book, more_at, bytes) == bytes / page);
  must(emulated.detach());
  CHECK(standing(book).empty());
  CHECK(v.dma.usage().mappings == 0);
  CHECK(v.gate.counts() == gate_counts{});
}

TEST_CASE(
    "memory over the interrupts' hole: the join that reveals it is a named error, and everything "
    "is as before") {
  reveals(interrupts_at);
}
TEST_CASE(
    "memory beyond what the IOMMU reaches: the join that reveals it is a named error, and "
    "everything is as before") {
  reveals(very_far);
}

}  // namespace system_geometry_moves
