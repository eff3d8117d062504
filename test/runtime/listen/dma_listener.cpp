// SPDX-License-Identifier: BSL-1.0
// The listener standing alone, fed by hand as a VMM with a memory model of its own would.
#include <tether/listen/dma_listener.hpp>

#include <tether/backend/recording.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

using namespace tether;
using tether_test::must;

namespace {

struct bell {
  using slot = observation_slot;
  std::uint64_t diverged_times = 0;
  std::uint64_t trimmed_times = 0;
  void diverged(error const&) noexcept { ++diverged_times; }
  void trimmed(section const&, std::uint64_t) noexcept { ++trimmed_times; }
};

struct no_lock {
  std::uint64_t locked = 0;
  void lock() noexcept { ++locked; }
  void unlock() noexcept {}
};

template <class Granularity = whole_section>
struct rig {
  using listener_type = dma_listener<recording<software_iommu>, Granularity, trim_edges, bell, no_lock>;
  static_assert(memory_listener<listener_type>);

  ram_block a = must(ram_block::allocate("a", 64 * KiB));
  ram_block b = must(ram_block::allocate("b", 64 * KiB));
  no_lock mutex;
  journal book;
  recording<software_iommu> iommu{book, software_iommu{{.budget = 40}}};
  std::unique_ptr<listener_type> listener = std::make_unique<listener_type>(iommu, mutex);

  static section at(ram_block& block, std::uint64_t first, region_kind kind = region_kind::ram) {
    return {.where = {guest_address{first}, guest_address{first + 64 * KiB - 1}}, .memory = &block.backing(), .kind = kind, .name = block.name()};
  }
  result<void> change(std::vector<section> const& removals, std::vector<section> const& additions, commit_kind kind = commit_kind::refusable) {
    listener->begin(kind);
    for (auto const& one : removals) listener->remove(one);
    for (auto const& one : additions) listener->add(one);
    return listener->commit();
  }
  std::vector<std::string> told() {
    std::vector<std::string> lines;
    for (auto const& entry : book.entries()) lines.push_back(sentence(entry));
    book.clear();
    return lines;
  }
};
using lines = std::vector<std::string>;

}  // namespace

TEST_CASE("within one commit every removal goes before any addition, and what did not change is not touched") {
  rig<> r;
  must(r.change({}, {r.at(r.a, 0x100000), r.at(r.b, 0x200000)}));
  CHECK(r.told() == lines{"map [0x100000, 0x10ffff]", "map [0x200000, 0x20ffff]"});
  must(r.change({r.at(r.a, 0x100000)}, {r.at(r.a, 0x108000)}));  // overlaps its old place
  CHECK(r.told() == lines{"unmap [0x100000, 0x10ffff]", "map [0x108000, 0x117fff]"});
  must(r.change({}, {}));
  CHECK(r.told().empty());
  CHECK(r.mutex.locked == 3);
  CHECK(r.listener->usage() == mapped_usage{2, 128 * KiB});
}

TEST_CASE("a refused commit walks all the way back, latest first") {
  rig<> r;
  must(r.change({}, {r.at(r.a, 0x100000), r.at(r.b, 0x200000)}));
  static_cast<void>(r.told());
  r.book.fail_at(backend_call::map, 2, error::from_errno("map", ENOMEM));
  const auto refused = r.change({r.at(r.a, 0x100000), r.at(r.b, 0x200000)}, {r.at(r.a, 0x300000), r.at(r.b, 0x400000)});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is_errno(ENOMEM));
  CHECK(refused.error().subject() == "b");
  CHECK_FALSE(r.listener->diverged());
  CHECK(r.told() == lines{"unmap [0x100000, 0x10ffff]", "unmap [0x200000, 0x20ffff]", "map [0x300000, 0x30ffff]",
                          "map [0x400000, 0x40ffff]: failed", "unmap [0x300000, 0x30ffff]", "map [0x200000, 0x20ffff]",
                          "map [0x100000, 0x10ffff]"});
  CHECK(r.listener->usage() == mapped_usage{2, 128 * KiB});
  must(r.change({r.at(r.a, 0x100000), r.at(r.b, 0x200000)}, {}, commit_kind::compulsory));
}

TEST_CASE("an undo that fails makes it diverge: it tells once, keeps the memory, and refuses until it is forgotten") {
  rig<> r;
  must(r.change({}, {r.at(r.b, 0x200000)}));
  r.book.fail_at(backend_call::map, 2, error::from_errno("map", ENOMEM));
  r.book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  const auto refused = r.change({}, {r.at(r.a, 0x300000), r.at(r.b, 0x400000)});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is_errno(ENOMEM));
  CHECK(refused.error().stuck());
  CHECK(r.listener->diverged());
  CHECK(r.listener->observer().diverged_times == 1);
  CHECK(r.a.backing().references() == 1);
  CHECK(r.b.backing().references() == 0);
  static_cast<void>(r.told());
  CHECK(r.change({}, {}).error().is(errc::diverged));
  CHECK(r.change({r.at(r.b, 0x200000)}, {}).error().is(errc::diverged));
  // What must go goes: it is not unmapped, so it is kept.
  const auto gone = r.change({r.at(r.b, 0x200000)}, {}, commit_kind::compulsory);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().stuck());
  CHECK(r.b.backing().references() == 1);
  CHECK(r.told().empty());
  must(r.iommu.abandon());
  r.listener->forget();
  CHECK_FALSE(r.listener->diverged());
  CHECK(r.a.backing().references() == 0);
  CHECK(r.b.backing().references() == 0);
  CHECK(r.listener->usage() == mapped_usage{});
  must(r.change({}, {r.at(r.a, 0x100000)}));
}

TEST_CASE("memory that is kept is let go of with the listener, unless it is to be kept for ever") {
  for (const bool for_ever : {false, true}) {
    rig<> r;
    must(r.change({}, {r.at(r.a, 0x100000)}));
    r.book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
    CHECK_FALSE(r.change({r.at(r.a, 0x100000)}, {}, commit_kind::compulsory));
    CHECK(r.a.backing().references() == 1);
    if (for_ever) r.listener->keep_memory_for_ever();
    r.listener.reset();
    CHECK(r.a.backing().references() == (for_ever ? 1U : 0U));
    if (for_ever) r.a.backing().release();
  }
}

TEST_CASE("a stuck map is told and keeps its memory, in either kind of change, also if it is only another device's BAR") {
  for (const commit_kind kind : {commit_kind::refusable, commit_kind::compulsory}) {
    for (const region_kind what : {region_kind::ram, region_kind::ram_device}) {
      rig<> r;
      r.book.fail_after(backend_call::map, 1, error::from_errno("map", EIO));
      const auto stuck = r.change({}, {r.at(r.a, 0x100000, what)}, kind);
      REQUIRE_FALSE(stuck);
      CHECK(stuck.error().stuck());
      CHECK(r.listener->diverged());
      CHECK(r.a.backing().references() == 1);
      must(r.iommu.abandon());
      r.listener->forget();
    }
  }
}

TEST_CASE("a BAR that was left out is left out once, and forgotten with its section or with a refused change") {
  rig<fixed_block<4 * KiB>> r;
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  must(r.change({}, {r.at(r.a, 0x100000, region_kind::ram_device)}));
  CHECK(r.listener->left_out().size() == 1);
  // A change that fails after another BAR was left out forgets that one, and keeps the first.
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  const auto refused = r.change({}, {r.at(r.a, 0x200000, region_kind::ram_device), r.at(r.b, 0x300000), r.at(r.a, 0x400000), r.at(r.b, 0x500000)});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::over_budget));
  r.book.clear_faults();
  CHECK(r.listener->left_out().size() == 1);
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  r.book.fail_at(backend_call::map, 2, error::from_errno("map", ENOMEM));
  CHECK_FALSE(r.change({}, {r.at(r.a, 0x200000, region_kind::ram_device), r.at(r.b, 0x300000)}));
  CHECK(r.listener->left_out().size() == 1);
  static_cast<void>(r.told());
  must(r.change({r.at(r.a, 0x100000, region_kind::ram_device)}, {}));
  CHECK(r.told().empty());
  CHECK(r.listener->left_out().empty());
}

TEST_CASE("trimmed bytes are counted while the section stands, also across a refused change") {
  rig<> r;
  section ragged = r.at(r.a, 0x100000);
  ragged.where = {guest_address{0x100800}, guest_address{0x103fff}};
  ragged.offset = block_offset{0x800};
  must(r.change({}, {ragged}));
  CHECK(r.listener->trimmed_bytes() == 0x800);
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  CHECK_FALSE(r.change({ragged}, {r.at(r.b, 0x200000)}));
  CHECK(r.listener->trimmed_bytes() == 0x800);
  must(r.change({ragged}, {r.at(r.b, 0x200000)}));
  CHECK(r.listener->trimmed_bytes() == 0);
  CHECK(r.listener->observer().trimmed_times == 1);
}

TEST_CASE("a backend that knows no limit is never over it, also where a commit takes something away first") {
  struct boundless : software_iommu {
    [[nodiscard]] std::uint64_t free_mappings() const noexcept { return ~std::uint64_t{0}; }
  };
  no_lock mutex;
  boundless iommu;
  dma_listener<boundless, whole_section, trim_edges, bell, no_lock> listener{iommu, mutex};
  ram_block block = must(ram_block::allocate("block", 64 * KiB));
  const section before = rig<>::at(block, 0x100000);
  const section after = rig<>::at(block, 0x200000);
  listener.begin(commit_kind::refusable);
  listener.add(before);
  must(listener.commit());
  listener.begin(commit_kind::refusable);
  listener.remove(before);
  listener.add(after);
  must(listener.commit());
  listener.begin(commit_kind::refusable);
  listener.remove(after);
  must(listener.commit());
}
