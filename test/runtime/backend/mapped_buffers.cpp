// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/mapped_buffers.hpp>

#include <support/failing_allocation.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>

#include <tether/backend/direct_lookup.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/testing/journal.hpp>
#include <tether/testing/recording.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <sys/mman.h>
#include <utility>
#include <vector>

namespace runtime_backend_mapped_buffers {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t page = 4 * KiB;

/// Memory of a program's own, from an address that is a multiple of 2 MiB.
class memory {
 public:
  explicit memory(std::uint64_t size) : size_{size + 2 * MiB} {
    at_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(at_ != MAP_FAILED);
  }
  memory(memory const&) = delete;
  memory& operator=(memory const&) = delete;
  ~memory() { ::munmap(at_, size_); }
  [[nodiscard]] std::byte* data() const {
    return static_cast<std::byte*>(at_) +
           (round_up(reinterpret_cast<std::uintptr_t>(at_), 2 * MiB) -
            reinterpret_cast<std::uintptr_t>(at_));
  }
  [[nodiscard]] std::span<std::byte> pages(std::uint64_t first, std::uint64_t count) const {
    return {data() + first * page, count * page};
  }

 private:
  std::uint64_t size_;
  void* at_ = nullptr;
};

/// As if it pinned: what a mapping needs then is done.
struct pinning_iommu : software_iommu {
  static constexpr bool pins = true;
};
static_assert(backend<pinning_iommu>);

using recorded = recording<software_iommu>;
template <class Lookup>
using buffers = mapped_buffers<recorded, Lookup>;

template <class Lookup>
struct bench {
  memory ram{4 * MiB};
  recorded iommu;
  buffers<Lookup> mine = must(buffers<Lookup>::over(iommu));
};

}  // namespace

#define LOOKUPS sorted_lookup, direct_lookup<page>

TEST_CASE_TEMPLATE("a device reaches a buffer by the address that was told, and any byte of it", Lookup,
                   LOOKUPS) {
  memory ram{64 * page};
  software_iommu iommu;
  auto mine = must(mapped_buffers<software_iommu, Lookup>::over(iommu));
  const endpoint_group nics{"nics", {{"nic", pin_class::pins_on_demand}}};
  auto group = must(iommu.join(nics));
  auto nic = must(iommu.open(group, "nic"));
  const auto first = must(mine.map(ram.pages(0, 2)));
  const auto second = must(mine.map(ram.pages(8, 1)));
  CHECK(mine.size() == 2);
  CHECK(first.value != 0);
  CHECK(must(mine.translate(ram.data())) == first);
  CHECK(must(mine.translate(ram.data() + 8 * page + 100, page - 100)) == second + 100);
  const std::array sent{std::byte{1}, std::byte{2}};
  must(nic.dma_write(must(mine.translate(ram.data() + page + 7, 2)), sent));
  CHECK(ram.data()[page + 7] == sent[0]);
  CHECK(ram.data()[page + 8] == sent[1]);

  must(mine.unmap(ram.data()));
  CHECK(nic.dma_write(first, sent).error().is(errc::not_mapped));
  CHECK(mine.translate(ram.data()).error().is(errc::not_mapped));
  must(nic.dma_write(second, sent));
  must(iommu.close(nic));
  must(iommu.leave(group));
}

TEST_CASE_TEMPLATE("what is translated lies in one buffer as a whole, and has at least a byte", Lookup,
                   LOOKUPS) {
  bench<Lookup> at;
  must(at.mine.map_at(io_address{64 * page}, at.ram.pages(1, 2)));
  must(at.mine.map_at(io_address{66 * page}, at.ram.pages(3, 1)));  // meets it in both
  std::byte* const first = at.ram.data() + page;
  CHECK(must(at.mine.translate(first, 2 * page)).value == 64 * page);
  CHECK(must(at.mine.translate(first + 2 * page - 1)).value == 66 * page - 1);
  CHECK(must(at.mine.translate(first + 2 * page)).value == 66 * page);
  CHECK(at.mine.translate(first, 2 * page + 1).error().is(errc::not_mapped));
  CHECK(at.mine.translate(first - 1, 2).error().is(errc::not_mapped));
  CHECK(at.mine.translate(first + 3 * page).error().is(errc::not_mapped));
  CHECK(at.mine.translate(nullptr).error().is(errc::not_mapped));
  CHECK(at.mine.translate(first, 0).error().is(errc::invalid_extent));
  constexpr std::uint64_t all = std::numeric_limits<std::uint64_t>::max();
  CHECK(at.mine.translate(first + 1, all).error().is(errc::invalid_extent));
  CHECK(at.mine.translate(first, all / 2).error().is(errc::not_mapped));
}

TEST_CASE_TEMPLATE("what cannot be mapped is refused by its cause, and its addresses are free again", Lookup,
                   LOOKUPS) {
  bench<Lookup> at;
  CHECK(at.mine.map({}).error().is(errc::invalid_extent));
  CHECK(at.mine.map(at.ram.pages(0, 0)).error().is(errc::invalid_extent));
  CHECK(at.mine.map({at.ram.data() + 8, page}).error().is(errc::not_aligned));
  CHECK(at.mine.map({at.ram.data(), page - 8}).error().is(errc::not_aligned));
  CHECK(at.mine.map(at.ram.pages(0, 1), access::none).error().is(errc::access_denied));
  CHECK(at.mine.map_at(io_address{8}, at.ram.pages(0, 1)).error().is(errc::not_aligned));
  CHECK(at.mine.map_at(io_address{0xfee0'0000}, at.ram.pages(0, 1))
            .error()
            .is(errc::outside_aperture));
  CHECK(
      at.mine.map_at(io_address{~(page - 1)}, at.ram.pages(0, 2)).error().is(errc::invalid_extent));
  CHECK(at.mine.size() == 0);
  CHECK(at.iommu.watched().free_mappings() == 65535);
  must(at.mine.map_at(io_address{page}, at.ram.pages(4, 4)));
  for (auto const& [from, count] : {std::pair{3U, 2U}, {4U, 4U}, {5U, 1U}, {7U, 3U}, {0U, 99U}})
    CHECK(at.mine.map(at.ram.pages(from, count)).error().is(errc::overlaps));
  CHECK(at.mine.map_at(io_address{4 * page}, at.ram.pages(20, 1)).error().is(errc::overlaps));
  CHECK(at.mine.unmap(at.ram.data() + 5 * page).error().is(errc::cuts_a_mapping));
  CHECK(at.mine.unmap(at.ram.data() + 3 * page).error().is(errc::not_mapped));
  must(at.mine.unmap(at.ram.data() + 4 * page));
  CHECK(at.mine.unmap(at.ram.data() + 4 * page).error().is(errc::not_mapped));
  must(at.mine.map_at(io_address{0}, at.ram.pages(4, 9)));
}

TEST_CASE_TEMPLATE("a backend that refuses leaves nothing, unless it could not roll back", Lookup,
                   LOOKUPS) {
  bench<Lookup> at;
  auto& calls = at.iommu.log();
  const io_address there{16 * page};
  calls.fail_at(backend_call::map, 1, error{"map", errc::over_budget});
  CHECK(at.mine.map_at(there, at.ram.pages(0, 1)).error().is(errc::over_budget));
  CHECK(at.mine.size() == 0);
  must(at.mine.map_at(there, at.ram.pages(0, 1)));
  calls.fail_at(backend_call::unmap, 1, error{"unmap", errc::diverged});
  CHECK(at.mine.unmap(at.ram.data()).error().is(errc::diverged));
  CHECK(must(at.mine.translate(at.ram.data())) == there);
  must(at.mine.unmap(at.ram.data()));
  // Something may still be mapped there: these addresses are not handed out again.
  calls.fail_at(backend_call::map, 1, error{"map", errc::diverged}.with_failed_rollback());
  CHECK(at.mine.map_at(there, at.ram.pages(0, 1)).error().rollback_failed());
  CHECK(at.mine.size() == 0);
  CHECK(at.mine.map_at(there, at.ram.pages(0, 1)).error().is(errc::overlaps));
  must(at.mine.map_at(there + page, at.ram.pages(0, 1)));
}

TEST_CASE_TEMPLATE("a buffer of large pages gets addresses of large pages, while there are any", Lookup,
                   LOOKUPS) {
  memory ram{6 * MiB};
  software_iommu iommu{{.usable = {{io_address{0}, io_address{4608 * KiB - 1}}}}};
  auto mine = must(mapped_buffers<software_iommu, Lookup>::over(iommu));
  CHECK(must(mine.map(ram.pages(0, 512))).value == 2 * MiB);
  CHECK(must(mine.map(ram.pages(1023, 1))).value == page);
  must(mine.unmap(ram.data()));
  must(mine.map_at(io_address{2 * MiB}, ram.pages(1024, 1)));
  // No place for a large page is left, so it is mapped by small ones.
  CHECK(must(mine.map(ram.pages(0, 512))).value == 2 * MiB + page);
}

TEST_CASE("a device with few address bits is given no others") {
  memory ram{8 * page};
  software_iommu iommu;
  auto mine = must(mapped_buffers<software_iommu>::over(iommu, io_address{4 * page - 1}));
  CHECK(must(mine.map(ram.pages(0, 3))).value == page);
  CHECK(mine.map(ram.pages(3, 1)).error().is_errno(ENOSPC));
  must(mine.map_at(io_address{0}, ram.pages(3, 1)));
  CHECK(mine.map_at(io_address{4 * page}, ram.pages(4, 1)).error().is(errc::outside_aperture));
}

TEST_CASE_TEMPLATE("limits that change are followed, with what is mapped", Lookup, LOOKUPS) {
  memory ram{8 * page};
  software_iommu iommu{{.usable = {{io_address{0}, io_address{2 * page - 1}}}}};
  auto mine = must(mapped_buffers<software_iommu, Lookup>::over(iommu));
  CHECK(must(mine.map(ram.pages(0, 1))).value != 0);
  CHECK(mine.map(ram.pages(1, 1)).error().is_errno(ENOSPC));
  must(mine.follow_limits());
  CHECK(mine.map(ram.pages(1, 1)).error().is_errno(ENOSPC));
  must(mine.unmap(ram.data()));
  iommu = software_iommu{{.usable = {{io_address{8 * page}, io_address{16 * page - 1}}}}};
  must(mine.follow_limits());
  CHECK(must(mine.map(ram.pages(0, 1))).value == 8 * page);
}

TEST_CASE_TEMPLATE("the end of it unmaps what is left, also where it was moved", Lookup, LOOKUPS) {
  memory ram{8 * page};
  recorded iommu;
  {
    auto first = must(buffers<Lookup>::over(iommu));
    CHECK(must(first.map(ram.pages(0, 1))).value != 0);
    CHECK(must(first.map(ram.pages(2, 2))).value != 0);
    auto other = std::move(first);
    CHECK(other.size() == 2);
    CHECK(must(other.map(ram.pages(6, 1))).value != 0);
    CHECK(iommu.watched().free_mappings() == 65535 - 3);
    auto third = must(buffers<Lookup>::over(iommu, io_address{0xfff}));
    third = std::move(other);
    CHECK(third.size() == 3);
  }
  CHECK(iommu.watched().free_mappings() == 65535);
  CHECK(iommu.log().count(backend_call::unmap) == 3);
  {
    auto none = must(buffers<Lookup>::over(iommu));
    CHECK(must(none.map(ram.pages(0, 1))).value != 0);
    must(none.unmap(ram.data()));
  }
  CHECK(iommu.log().count(backend_call::unmap) == 4);
}

TEST_CASE_TEMPLATE("private memory that a device only reads is there before it is pinned (law 15)", Lookup,
                   LOOKUPS) {
  memory ram{8 * page};
  pinning_iommu iommu;
  auto mine = must(mapped_buffers<pinning_iommu, Lookup>::over(iommu));
  CHECK(must(mine.map(ram.pages(0, 1), access::read)).value != 0);
  CHECK(tether_test::is_resident(ram.data()));
  CHECK(must(mine.map(ram.pages(1, 1), access::read, memory_kind::shared)).value != 0);
  CHECK(must(mine.map(ram.pages(2, 1))).value != 0);
  CHECK_FALSE(tether_test::is_resident(ram.data() + page));
  CHECK_FALSE(tether_test::is_resident(ram.data() + 2 * page));
  REQUIRE(::mprotect(ram.data() + 4 * page, page, PROT_READ) == 0);
  const auto refused = mine.map(ram.pages(4, 1), access::read);
  REQUIRE(!refused);
  CHECK(refused.error().operation() == std::string_view{"bring in"});
  CHECK(mine.size() == 3);
  CHECK(must(mine.map(ram.pages(5, 1))).value == 4 * page);
  software_iommu pins_nothing;
  auto others = must(mapped_buffers<software_iommu, Lookup>::over(pins_nothing));
  CHECK(must(others.map(ram.pages(6, 1), access::read)).value != 0);
  CHECK_FALSE(tether_test::is_resident(ram.data() + 6 * page));
}

TEST_CASE_TEMPLATE("without memory nothing is mapped, and no address is lost", Lookup, LOOKUPS) {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  bench<Lookup> at;
  std::uint64_t failed = 0;
  for (std::uint64_t i = 0; i != 200; ++i) {
    for (std::uint64_t n = 1; n != 8; ++n) {
      tether_test::failing_allocation = n;
      const auto got = at.mine.map_at(io_address{(i + 1) * page}, at.ram.pages(i, 1));
      tether_test::failing_allocation = 0;
      if (got) break;
      ++failed;
      REQUIRE(got.error().is_errno(ENOMEM));
      REQUIRE(at.mine.size() == i);
    }
    REQUIRE(at.mine.size() == i + 1);
  }
  CHECK(failed > 8);
}

TEST_CASE("a buffer in a table of blocks begins and ends on one, and another is refused") {
  memory ram{8 * MiB};
  recorded iommu;
  using blocks = direct_lookup<2 * MiB>;
  auto mine = must(buffers<blocks>::over(iommu));
  const auto wrong = {ram.pages(0, 1), ram.pages(1, 512), ram.pages(0, 513), ram.pages(256, 512)};
  for (auto const& one : wrong) {
    CHECK(mine.map(one).error().is(errc::not_aligned));
    CHECK(mine.map_at(io_address{4 * MiB}, one).error().is(errc::not_aligned));
  }
  CHECK(mine.map({ram.data() + 8, page}).error().is(errc::not_aligned));
  const auto said = mine.map(ram.pages(0, 1)).error().sentence();
  CHECK(std::string_view{said}.find(
            "begin and end a buffer on multiples of 2097152 bytes, the blocks of this lookup, or "
            "take sorted_lookup, which has none") != std::string_view::npos);
  CHECK(mine.size() == 0);
  CHECK(iommu.log().count(backend_call::map) == 0);

  // Any page is where a device may see it.
  must(mine.map_at(io_address{4 * MiB + page}, ram.pages(512, 1024)));
  CHECK(must(mine.translate(ram.data() + 6 * MiB - 3, 3)).value == 8 * MiB + page - 3);
  CHECK(mine.translate(ram.data() + 2 * MiB - 1).error().is(errc::not_mapped));
  CHECK(mine.map(ram.pages(1024, 512)).error().is(errc::overlaps));
  CHECK(mine.unmap(ram.data() + 4 * MiB).error().is(errc::cuts_a_mapping));
  must(mine.unmap(ram.data() + 2 * MiB));
  CHECK(must(mine.map(ram.pages(1024, 512))).value == 2 * MiB);
}

TEST_CASE("blocks smaller than the IOMMU's page ask for its pages, and its own are at least 4 KiB") {
  memory ram{4 * MiB};
  software_iommu coarse{{.page_sizes = {64 * KiB}}};
  auto mine = must(mapped_buffers<software_iommu, direct_lookup<page>>::over(coarse));
  const auto refused = mine.map(ram.pages(0, 1));
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::not_aligned));
  CHECK(std::string_view{refused.error().sentence()}.find("65536") != std::string_view::npos);
  CHECK(must(mine.map(ram.pages(0, 16))).value % (64 * KiB) == 0);

  software_iommu fine{{.page_sizes = {KiB}}};
  auto sorted = must(mapped_buffers<software_iommu>::over(fine));
  must(sorted.map_at(io_address{3 * KiB}, ram.pages(0, 1)));
  auto direct = must(mapped_buffers<software_iommu, direct_lookup<page>>::over(fine));
  CHECK(direct.map_at(io_address{11 * KiB}, ram.pages(1, 1)).error().is(errc::not_aligned));
  must(direct.follow_limits());
  CHECK(direct.map_at(io_address{11 * KiB}, ram.pages(1, 1)).error().is(errc::not_aligned));
  must(direct.map_at(io_address{12 * KiB}, ram.pages(1, 1)));
  CHECK(must(direct.translate(ram.data() + page + 5, 9)).value == 12 * KiB + 5);
}

#undef LOOKUPS

}  // namespace runtime_backend_mapped_buffers
