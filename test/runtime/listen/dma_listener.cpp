// SPDX-License-Identifier: BSL-1.0
// The listener standing alone, fed by hand as a VMM with a memory model of its own would.
#include <tether/listen/dma_listener.hpp>

#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace runtime_listen_dma_listener {

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
  bool try_lock() noexcept { return true; }
  void unlock() noexcept {}
};

template <class Granularity = whole_section>
struct rig {
  using listener_type =
      dma_listener<recording<software_iommu>, Granularity, trim_edges, bell, no_lock>;
  static_assert(memory_listener<listener_type>);

  ram_block a = must(ram_block::allocate("a", 64 * KiB));
  ram_block b = must(ram_block::allocate("b", 64 * KiB));
  no_lock mutex;
  journal book;
  recording<software_iommu> iommu{book, software_iommu{{.budget = 40}}};
  std::unique_ptr<listener_type> listener = std::make_unique<listener_type>(iommu, mutex);

  static section at(ram_block& block, std::uint64_t first, region_kind kind = region_kind::ram) {
    return {.where = {guest_address{first}, guest_address{first + 64 * KiB - 1}},
            .memory = &block.backing(),
            .kind = kind,
            .name = block.name()};
  }
  result<void> change(std::vector<section> const& removals, std::vector<section> const& additions,
                      commit_kind kind = commit_kind::refusable) {
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

/// Sixteen pages of `block` at `first`, as `pages` of them from page `from` on.
section part(ram_block& block, std::uint64_t first, std::uint64_t from, std::uint64_t pages) {
  return {.where = {guest_address{first + from * 4 * KiB},
                    guest_address{first + (from + pages) * 4 * KiB - 1}},
          .memory = &block.backing(),
          .offset = block_offset{from * 4 * KiB},
          .name = block.name()};
}
const std::error_code invalid = std::make_error_code(std::errc::invalid_argument);
std::error_code code(errc why) { return make_error_code(why); }

/// Something wrong, and what it is called.
struct wrong_thing {
  const char* what;
  section one;
  std::error_code why;
};

/// Three pages side by side that were added one by one, and what is not one of them.
struct three_pages : rig<> {
  section low = part(a, 0x100000, 0, 1);
  section middle = part(a, 0x100000, 1, 1);
  section high = part(a, 0x100000, 2, 1);
  section elsewhere = part(b, 0x200000, 0, 4);

  three_pages() {
    must(change({}, {low, middle, high, elsewhere}));
    static_cast<void>(told());
  }
  std::vector<wrong_thing> wrong_removals() {
    section other_memory = low, other_offset = low, other_rights = low, other_kind = low,
            other_merging = low, wraps = low;
    other_memory.memory = &b.backing();
    other_offset.offset = block_offset{4 * KiB};
    other_rights.read_only = true;
    other_kind.kind = region_kind::rom;
    other_merging.unmergeable = true;
    wraps.where = {middle.where.last, middle.where.first};
    return {{"all three as one", part(a, 0x100000, 0, 3), invalid},
            {"two as one", part(a, 0x100000, 1, 2), invalid},
            {"all three and more", part(a, 0x100000, 0, 4), invalid},
            {"a part, from the front", part(b, 0x200000, 0, 2), code(errc::cuts_a_mapping)},
            {"a part, from the midst", part(b, 0x200000, 1, 2), code(errc::cuts_a_mapping)},
            {"a part and more", part(b, 0x200000, 3, 2), code(errc::cuts_a_mapping)},
            {"never added", part(a, 0x100000, 8, 1), code(errc::not_mapped)},
            {"other memory", other_memory, invalid},
            {"another offset", other_offset, invalid},
            {"other rights", other_rights, invalid},
            {"another kind", other_kind, invalid},
            {"not to be merged", other_merging, invalid},
            {"its last byte before its first", wraps, code(errc::invalid_extent)}};
  }
  std::vector<wrong_thing> wrong_additions() {
    section no_memory = part(b, 0x300000, 0, 1), no_rom = no_memory, no_bar = no_memory,
            wraps = no_memory, far = no_memory, wide = no_memory, too_long = no_memory,
            everything = no_memory, registers = low;
    no_memory.memory = no_rom.memory = no_bar.memory = nullptr;
    no_rom.kind = region_kind::rom;
    no_bar.kind = region_kind::ram_device;
    wraps.where = {guest_address{0x301000}, guest_address{0x300fff}};
    far.offset = block_offset{64 * KiB};
    wide.offset = block_offset{~std::uint64_t{0} - 0xfff};
    too_long.where.last = guest_address{0x300000 + 64 * KiB};
    everything.where = {guest_address{0}, guest_address{~std::uint64_t{0}}};
    registers.kind = region_kind::mmio;
    registers.memory = nullptr;
    return {{"twice", low, code(errc::overlaps)},
            {"RAM over RAM", part(b, 0x100000, 0, 3), code(errc::overlaps)},
            {"RAM over the end of RAM", part(b, 0x203000, 0, 2), code(errc::overlaps)},
            {"registers over RAM", registers, code(errc::overlaps)},
            {"its last byte before its first", wraps, code(errc::invalid_extent)},
            {"RAM without memory", no_memory, invalid},
            {"ROM without memory", no_rom, invalid},
            {"a BAR without memory", no_bar, invalid},
            {"behind the end of its memory", far, code(errc::past_the_end)},
            {"an offset that wraps", wide, code(errc::past_the_end)},
            {"one byte more than its memory", too_long, code(errc::past_the_end)},
            {"all there is", everything, code(errc::past_the_end)}};
  }
};

}  // namespace

TEST_CASE(
    "within one commit every removal goes before any addition, and what did not change is not "
    "touched") {
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
  const auto refused = r.change({r.at(r.a, 0x100000), r.at(r.b, 0x200000)},
                                {r.at(r.a, 0x300000), r.at(r.b, 0x400000)});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is_errno(ENOMEM));
  CHECK(refused.error().subject() == "b");
  CHECK_FALSE(r.listener->diverged());
  CHECK(r.told() == lines{"unmap [0x100000, 0x10ffff]", "unmap [0x200000, 0x20ffff]",
                          "map [0x300000, 0x30ffff]", "map [0x400000, 0x40ffff]: failed",
                          "unmap [0x300000, 0x30ffff]", "map [0x200000, 0x20ffff]",
                          "map [0x100000, 0x10ffff]"});
  CHECK(r.listener->usage() == mapped_usage{2, 128 * KiB});
  must(r.change({r.at(r.a, 0x100000), r.at(r.b, 0x200000)}, {}, commit_kind::compulsory));
}

TEST_CASE(
    "an undo that fails makes it diverge: it tells once, keeps the memory, and refuses until it is "
    "forgotten") {
  rig<> r;
  must(r.change({}, {r.at(r.b, 0x200000)}));
  r.book.fail_at(backend_call::map, 2, error::from_errno("map", ENOMEM));
  r.book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  const auto refused = r.change({}, {r.at(r.a, 0x300000), r.at(r.b, 0x400000)});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is_errno(ENOMEM));
  CHECK(refused.error().rollback_failed());
  CHECK(r.listener->diverged());
  CHECK(r.listener->observer().diverged_times == 1);
  CHECK(r.a.backing().references() == 1);
  CHECK(r.b.backing().references() == 1);  // it is present
  static_cast<void>(r.told());
  CHECK(r.change({}, {}).error().is(errc::diverged));
  CHECK(r.change({r.at(r.b, 0x200000)}, {}).error().is(errc::diverged));
  // What must go goes: it is not unmapped, so it is kept.
  const auto gone = r.change({r.at(r.b, 0x200000)}, {}, commit_kind::compulsory);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().rollback_failed());
  CHECK(r.b.backing().references() == 1);
  CHECK(r.told().empty());
  must(r.iommu.abandon());
  r.listener->reset();
  CHECK_FALSE(r.listener->diverged());
  CHECK(r.a.backing().references() == 0);
  CHECK(r.b.backing().references() == 0);
  CHECK(r.listener->usage() == mapped_usage{});
  must(r.change({}, {r.at(r.a, 0x100000)}));
}

TEST_CASE("a listener that is destroyed unmaps what is left, and keeps what it cannot unmap") {
  for (const bool can_unmap : {true, false}) {
    for (const bool was_removed : {false, true}) {
      rig<> r;
      must(r.change({}, {r.at(r.a, 0x100000)}));
      if (!can_unmap) r.book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
      if (was_removed)
        CHECK(can_unmap ==
              r.change({r.at(r.a, 0x100000)}, {}, commit_kind::compulsory).has_value());
      r.listener.reset();
      CHECK(r.a.backing().references() == (can_unmap ? 0U : 1U));
      CHECK(r.iommu.free_mappings() == (can_unmap ? 40U : 39U));
      if (!can_unmap) r.a.backing().release();
    }
  }
}

TEST_CASE("memory that was added cannot be freed until it is removed, whatever became of it") {
  rig<> r;
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  must(r.change({}, {r.at(r.a, 0x100000, region_kind::ram_device), r.at(r.b, 0x200000)}));
  CHECK(r.listener->left_out_count() == 1);
  CHECK(r.a.free().error().is(errc::still_in_use));
  CHECK(r.b.free().error().is(errc::still_in_use));
  CHECK_FALSE(r.change({r.at(r.b, 0x300000)}, {}));  // refused
  CHECK(r.b.backing().references() == 1);
  r.listener->begin();
  r.listener->remove(r.at(r.b, 0x200000));
  r.listener->begin();  // forgets that
  CHECK(r.b.backing().references() == 1);
  must(r.change({r.at(r.a, 0x100000, region_kind::ram_device), r.at(r.b, 0x200000)}, {}));
  must(r.a.free());
  must(r.b.free());
}

TEST_CASE(
    "a stuck map is told and keeps its memory, in either kind of change, also if it is only "
    "another device's BAR") {
  for (const commit_kind kind : {commit_kind::refusable, commit_kind::compulsory}) {
    for (const region_kind what : {region_kind::ram, region_kind::ram_device}) {
      rig<> r;
      r.book.fail_after(backend_call::map, 1, error::from_errno("map", EIO));
      const auto stuck = r.change({}, {r.at(r.a, 0x100000, what)}, kind);
      REQUIRE_FALSE(stuck);
      CHECK(stuck.error().rollback_failed());
      CHECK(r.listener->diverged());
      CHECK(r.a.backing().references() == (kind == commit_kind::refusable ? 1U : 2U));
      must(r.iommu.abandon());
      r.listener->reset();
    }
  }
}

TEST_CASE(
    "a BAR that was left out is left out once, and forgotten with its section or with a refused "
    "change") {
  rig<fixed_block<4 * KiB>> r;
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  must(r.change({}, {r.at(r.a, 0x100000, region_kind::ram_device)}));
  CHECK(r.listener->left_out().size() == 1);
  // A change that fails after another BAR was left out forgets that one, and keeps the first.
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  const auto refused =
      r.change({}, {r.at(r.a, 0x200000, region_kind::ram_device), r.at(r.b, 0x300000),
                    r.at(r.a, 0x400000), r.at(r.b, 0x500000)});
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

TEST_CASE(
    "a backend that knows no limit is never over it, also where a commit takes something away "
    "first") {
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

TEST_CASE(
    "what a refused change takes out and puts back stays left out, in its order, and can be taken "
    "away") {
  rig<> r;
  const section first = r.at(r.a, 0x100000, region_kind::ram_device);
  const section second = r.at(r.b, 0x200000, region_kind::ram_device);
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  r.book.fail_at(backend_call::map, 2, error::from_errno("map", EFAULT));
  must(r.change({}, {first, second}));
  const auto places = [&] {
    std::vector<std::uint64_t> all;
    for (auto const& one : r.listener->left_out()) all.push_back(one.what.where.first.value);
    return all;
  };
  const std::vector<std::uint64_t> before{0x100000, 0x200000};
  REQUIRE(places() == before);
  // Refused up front, and by the backend after the BAR was left out once more.
  section window = r.at(r.a, 0x300000, region_kind::iommu_window);
  window.memory = nullptr;
  CHECK(r.change({first}, {first, window}).error().is(errc::unsupported));
  CHECK(places() == before);
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  r.book.fail_at(backend_call::map, 2, error::from_errno("map", ENOMEM));
  CHECK(r.change({first}, {first, r.at(r.b, 0x300000)}).error().is_errno(ENOMEM));
  CHECK(places() == before);
  static_cast<void>(r.told());
  must(r.change({first}, {}));
  CHECK(places() == std::vector<std::uint64_t>{0x200000});
  must(r.change({second}, {}, commit_kind::compulsory));
  CHECK(r.told().empty());
  CHECK_FALSE(r.listener->diverged());
}

TEST_CASE("what it left out is told by a name of its own, also once it has diverged") {
  rig<> r;
  auto bar = must(ram_block::allocate("bar", 64 * KiB));
  auto name = std::make_unique<std::string>("a name that is longer than fits in place");
  section one = r.at(bar, 0x100000, region_kind::ram_device);
  one.name = *name;
  one.read_only = true;
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  must(r.change({}, {one, r.at(r.a, 0x200000)}));
  r.book.fail_at(backend_call::map, 2, error::from_errno("map", EIO));
  r.book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  CHECK_FALSE(r.change({}, {r.at(r.a, 0x300000), r.at(r.b, 0x400000)}));
  REQUIRE(r.listener->diverged());
  std::fill(name->begin(), name->end(), '?');
  name.reset();
  REQUIRE(r.listener->left_out().size() == 1);
  const auto left_out = r.listener->left_out()[0];
  CHECK(left_out.what.name.view() == "a name that is longer than fits in place");
  CHECK(left_out.what.where ==
        extent<guest_address>{guest_address{0x100000}, guest_address{0x10ffff}});
  CHECK(left_out.what.kind == region_kind::ram_device);
  CHECK(left_out.what.rights == access::read);
  CHECK(left_out.why.is_errno(EFAULT));
  must(r.iommu.abandon());
  r.listener->reset();
  CHECK(r.listener->left_out().empty());
}

TEST_CASE(
    "a compulsory change forgets what it took away of those left out, also where it makes the "
    "listener diverge") {
  rig<> r;
  const section bar = r.at(r.a, 0x100000, region_kind::ram_device);
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  must(r.change({}, {bar, r.at(r.b, 0x200000)}));
  r.book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  CHECK_FALSE(r.change({bar, r.at(r.b, 0x200000)}, {}, commit_kind::compulsory));
  CHECK(r.listener->diverged());
  CHECK(r.listener->left_out().empty());
  must(r.iommu.abandon());
  r.listener->reset();
}

TEST_CASE("a wrong removal refuses a refusable change by name, and nothing is unmapped for it") {
  for (std::size_t i = 0; i != three_pages{}.wrong_removals().size(); ++i) {
    three_pages r;
    wrong_thing const wrong = r.wrong_removals()[i];
    CAPTURE(wrong.what);
    const auto refused = r.change({r.middle, wrong.one}, {r.at(r.b, 0x400000)});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == wrong.why);
    CHECK(refused.error().subject() == wrong.one.name);
    CHECK(refused.error().first() == wrong.one.where.first.value);
    CHECK_FALSE(refused.error().rollback_failed());
    CHECK_FALSE(r.listener->diverged());
    CHECK(r.told().empty());
    CHECK(r.listener->usage() == mapped_usage{4, 28 * KiB});
    must(r.change({r.low, r.middle, r.high, r.elsewhere}, {}));
    CHECK(r.listener->usage() == mapped_usage{});
  }
}

TEST_CASE(
    "a compulsory change does what is right of it, says what was not, and does not diverge for a "
    "wrong name") {
  for (std::size_t i = 0; i != three_pages{}.wrong_removals().size(); ++i) {
    three_pages r;
    wrong_thing const wrong = r.wrong_removals()[i];
    CAPTURE(wrong.what);
    const auto told =
        r.change({wrong.one, r.middle}, {r.at(r.b, 0x400000)}, commit_kind::compulsory);
    REQUIRE_FALSE(told);
    CHECK(told.error().code() == wrong.why);
    CHECK(told.error().subject() == wrong.one.name);
    CHECK_FALSE(told.error().rollback_failed());
    CHECK_FALSE(r.listener->diverged());
    CHECK(r.listener->usage() == mapped_usage{4, 88 * KiB});
    CHECK(r.told() == lines{"unmap [0x101000, 0x101fff]", "map [0x400000, 0x40ffff]"});
    must(r.change({r.low, r.high, r.elsewhere, r.at(r.b, 0x400000)}, {}));
    CHECK(r.listener->usage() == mapped_usage{});
  }
  for (std::size_t i = 0; i != three_pages{}.wrong_additions().size(); ++i) {
    three_pages r;
    wrong_thing const wrong = r.wrong_additions()[i];
    CAPTURE(wrong.what);
    const auto told =
        r.change({r.middle}, {wrong.one, r.at(r.b, 0x400000)}, commit_kind::compulsory);
    REQUIRE_FALSE(told);
    CHECK(told.error().code() == wrong.why);
    CHECK_FALSE(r.listener->diverged());
    CHECK(r.listener->left_out().empty());
    CHECK(r.listener->usage() == mapped_usage{4, 88 * KiB});
    CHECK(r.told() == lines{"unmap [0x101000, 0x101fff]", "map [0x400000, 0x40ffff]"});
    must(r.change({r.low, r.high, r.elsewhere, r.at(r.b, 0x400000)}, {}));
  }
}

TEST_CASE("a wrong addition refuses a refusable change by name, and nothing is touched") {
  for (std::size_t i = 0; i != three_pages{}.wrong_additions().size(); ++i) {
    three_pages r;
    wrong_thing const wrong = r.wrong_additions()[i];
    CAPTURE(wrong.what);
    const auto refused = r.change({r.middle}, {r.at(r.b, 0x400000), wrong.one});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == wrong.why);
    CHECK(refused.error().subject() == wrong.one.name);
    CHECK(refused.error().last() == wrong.one.where.last.value);
    CHECK_FALSE(r.listener->diverged());
    CHECK(r.told().empty());
    CHECK(r.listener->usage() == mapped_usage{4, 28 * KiB});
    must(r.change({r.low, r.middle, r.high, r.elsewhere}, {}));
  }
}

TEST_CASE(
    "within one change nothing is removed twice or added twice, and what comes with a change does "
    "not go with it") {
  for (const commit_kind kind : {commit_kind::refusable, commit_kind::compulsory}) {
    three_pages r;
    const bool follows = kind == commit_kind::compulsory;
    CHECK(r.change({r.low, r.low}, {}, kind).error().is(errc::not_mapped));
    CHECK(r.listener->usage() == (follows ? mapped_usage{3, 24 * KiB} : mapped_usage{4, 28 * KiB}));
    const section fresh = r.at(r.b, 0x400000);
    CHECK(r.change({}, {fresh, fresh}, kind).error().is(errc::overlaps));
    CHECK(r.listener->usage() == (follows ? mapped_usage{4, 88 * KiB} : mapped_usage{4, 28 * KiB}));
    const section other = r.at(r.a, 0x500000);
    CHECK(r.change({other}, {other}, kind).error().is(errc::not_mapped));
    CHECK(r.listener->usage() ==
          (follows ? mapped_usage{5, 152 * KiB} : mapped_usage{4, 28 * KiB}));
    CHECK_FALSE(r.listener->diverged());
  }
}

TEST_CASE("removals take effect first also where they are told last") {
  three_pages r;
  r.listener->begin(commit_kind::refusable);
  r.listener->add(part(r.b, 0x100000, 0, 3));
  for (section const& one : {r.high, r.low, r.middle}) r.listener->remove(one);
  must(r.listener->commit());
  CHECK(r.listener->usage() == mapped_usage{2, 28 * KiB});
  CHECK(r.told().back() == "map [0x100000, 0x102fff]");
}

TEST_CASE("there is no commit without a begin, and a change that is begun anew never was") {
  three_pages r;
  CHECK(r.listener->commit().error().code() ==
        std::make_error_code(std::errc::operation_not_permitted));
  r.listener->remove(r.low);
  r.listener->add(r.at(r.b, 0x400000));
  CHECK(r.listener->commit().error().code() ==
        std::make_error_code(std::errc::operation_not_permitted));
  CHECK_FALSE(r.listener->diverged());
  CHECK(r.told().empty());
  r.listener->begin(commit_kind::compulsory);
  r.listener->remove(r.low);
  r.listener->add(r.at(r.b, 0x400000));
  must(r.change({r.middle}, {}));
  CHECK(r.told() == lines{"unmap [0x101000, 0x101fff]"});
  must(r.change({r.low}, {r.at(r.b, 0x400000)}));
  CHECK(r.listener->usage() == mapped_usage{3, 84 * KiB});
}

TEST_CASE("names need to live for the call only") {
  three_pages r;
  std::array<char, 6> text{};
  const auto named = [&](section one, std::string_view name) {
    std::copy(name.begin(), name.end(), text.begin());
    one.name = {text.data(), name.size()};
    return one;
  };
  r.book.fail_at(backend_call::map, 2, error::from_errno("map", ENOMEM));
  r.listener->begin(commit_kind::refusable);
  r.listener->add(named(r.at(r.a, 0x400000), "dimm0"));
  r.listener->add(named(r.at(r.b, 0x500000), "dimm1"));
  text = {};
  CHECK(r.listener->commit().error().subject() == "dimm1");
  r.book.fail_at(backend_call::unmap, 2, error::from_errno("unmap", EIO));
  r.listener->begin(commit_kind::refusable);
  r.listener->remove(named(r.low, "first"));
  r.listener->remove(named(r.high, "third"));
  text = {};
  const auto refused = r.listener->commit();
  CHECK(refused.error().is_errno(EIO));
  CHECK(refused.error().subject() == "third");
}

TEST_CASE(
    "what was told is remembered across refusals and divergence, and forgotten with everything "
    "else") {
  three_pages r;
  // Refused by the backend: as before.
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  CHECK(r.change({r.low}, {r.at(r.b, 0x400000)}).error().is_errno(ENOMEM));
  CHECK(r.change({r.at(r.b, 0x400000)}, {}).error().is(errc::not_mapped));
  CHECK(r.change({}, {r.low}).error().is(errc::overlaps));
  // Diverged: a compulsory change is published all the same.
  r.book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  CHECK(
      r.change({r.low}, {r.at(r.b, 0x400000)}, commit_kind::compulsory).error().rollback_failed());
  REQUIRE(r.listener->diverged());
  CHECK(
      r.change({r.at(r.b, 0x400000)}, {r.low}, commit_kind::compulsory).error().is(errc::diverged));
  must(r.iommu.abandon());
  r.listener->reset();
  CHECK(r.change({r.low}, {}).error().is(errc::not_mapped));
  must(r.change({}, {r.low, r.middle, r.high, r.at(r.b, 0x400000)}));
  CHECK(r.listener->usage() == mapped_usage{4, 76 * KiB});
}

namespace {

/// Counts the comparisons by which sections are found.
struct counting_order {
  static inline std::uint64_t steps = 0;
  template <class Address>
  bool operator()(Address a, Address b) const noexcept {
    ++steps;
    return a < b;
  }
};
enum class ending { followed, refused, compulsory };

/// What pins is told of read-only memory.
struct pinning_iommu : software_iommu {
  static constexpr bool pins = true;
  using software_iommu::software_iommu;
};

/// The steps of one commit that replaces `count` sections, writable ones by read-only ones or the
/// other way round.
template <class Feed, bool FromReadOnly = false>
std::uint64_t steps_to_replace(std::uint64_t count, bool left_out, ending how) {
  ram_block block = must(ram_block::allocate("ram", 8 * KiB));
  journal book;
  const std::vector<extent<io_address>> usable{{io_address{0}, io_address{16 * MiB - 1}}};
  recording<pinning_iommu> iommu{book, pinning_iommu{{.usable = usable}}};
  no_lock mutex;
  dma_listener<recording<pinning_iommu>, whole_section, trim_edges, no_observation, no_lock, Feed>
      listener{iommu, mutex};
  const auto at = [&](std::uint64_t i, bool read_only) {
    section one = part(block, (left_out ? 16 * MiB : 0) + i * 8 * KiB, 0, 1);
    if (left_out) one.kind = region_kind::ram_device;
    one.read_only = read_only != FromReadOnly;
    return one;
  };
  listener.begin(commit_kind::refusable);
  for (std::uint64_t i = 0; i != count; ++i) listener.add(at(i, false));
  must(listener.commit());
  counting_order::steps = 0;
  listener.begin(how == ending::compulsory ? commit_kind::compulsory : commit_kind::refusable);
  for (std::uint64_t i = 0; i != count; ++i) listener.remove(at(i, false));
  for (std::uint64_t i = 0; i != count; ++i) listener.add(at(i, true));
  if (how == ending::refused) {
    listener.add(part(block, 12 * MiB, 1, 1));
    book.fail_at(backend_call::map, left_out ? 1 : count + 1, error::from_errno("map", ENOMEM));
  }
  CHECK(listener.commit().has_value() == (how != ending::refused));
  const std::uint64_t steps = counting_order::steps;
  CHECK(listener.left_out().size() == (left_out ? count : 0));
  CHECK(listener.usage().mappings == (left_out ? 0 : count));
  return steps;
}

}  // namespace

TEST_CASE_TEMPLATE(
    "a commit that replaces four times as many sections takes about four times the steps, also "
    "where they are left out, refused or fenced",
    Feed, detail::basic_trusted_feed<counting_order>, detail::basic_checked_feed<counting_order>) {
  for (const bool left_out : {false, true})
    for (const ending how : {ending::followed, ending::refused, ending::compulsory}) {
      CAPTURE(left_out);
      CAPTURE(static_cast<int>(how));
      const auto once = steps_to_replace<Feed>(256, left_out, how);
      const auto four_times = steps_to_replace<Feed>(1024, left_out, how);
      CHECK(four_times <= 6 * once);  // 1024 log 1024 against 256 log 256 is 5
      CHECK(once != 0);
      const auto back = steps_to_replace<Feed, true>(256, left_out, how);
      CHECK(steps_to_replace<Feed, true>(1024, left_out, how) <= 6 * back);
    }
}

TEST_CASE("a backend and a lock are enough for a listener, and what lies at N is mapped at N") {
  auto ram = must(ram_block::allocate("ram", 64 * KiB));
  software_iommu iommu;
  auto joined = must(iommu.join(endpoint_group{"nics", {{"nic"}}}));
  auto nic = must(iommu.open(joined, "nic"));
  std::mutex mutex;
  dma_listener listener{iommu, mutex};
  const section one{.where = {guest_address{0x10'0000}, guest_address{0x10'ffff}},
                    .memory = &ram.backing(),
                    .name = "ram"};
  listener.begin();
  listener.add(one);
  must(listener.commit());
  CHECK(listener.usage() == mapped_usage{1, 64 * KiB});
  ram.data()[0x1234] = std::byte{0x5a};
  std::array<std::byte, 1> seen{};
  must(nic.dma_read(io_address{0x10'1234}, seen));
  CHECK(seen[0] == std::byte{0x5a});
  listener.begin();
  listener.add(one);
  CHECK_FALSE(listener.commit());
  listener.begin();
  listener.remove(one);
  must(listener.commit());
  CHECK_FALSE(nic.dma_read(io_address{0x10'1234}, seen));
}

TEST_CASE("a commit without a begin is told by number, and neither repeats nor adds anything") {
  for (const commit_kind kind : {commit_kind::refusable, commit_kind::compulsory}) {
    rig<> r;
    must(r.change({}, {r.at(r.a, 0x100000)}, kind));
    static_cast<void>(r.told());
    for (int again = 0; again != 2; ++again) {
      r.listener->remove(r.at(r.a, 0x100000));
      r.listener->add(r.at(r.b, 0x200000));
      const auto wrong = r.listener->commit();
      REQUIRE_FALSE(wrong);
      CHECK(wrong.error().code() == std::make_error_code(std::errc::operation_not_permitted));
      CHECK(wrong.error().sentence().find("tether[M4]: call begin() first") != std::string::npos);
      CHECK(r.told().empty());
      CHECK(r.listener->usage() == mapped_usage{1, 64 * KiB});
    }
    must(r.change({r.at(r.a, 0x100000)}, {}));
  }
}

TEST_CASE(
    "memory and windows that the IOMMU does not reach are refused, or left out and told, from 2^63 "
    "on as anywhere else") {
  constexpr std::uint64_t half = std::uint64_t{1} << 63;
  constexpr std::uint64_t width = std::uint64_t{1} << 48;
  for (const std::uint64_t first : {width - 32 * KiB, width, half - 32 * KiB, half, half + 64 * KiB,
                                    std::uint64_t{0} - 64 * KiB}) {
    for (const region_kind kind : {region_kind::ram, region_kind::rom, region_kind::iommu_window}) {
      CAPTURE(first);
      rig<> r;
      section far = r.at(r.a, first, kind);
      if (kind == region_kind::iommu_window) far.memory = nullptr;
      const errc why =
          kind == region_kind::iommu_window ? errc::unsupported : errc::outside_aperture;
      const auto refused = r.change({}, {far});
      REQUIRE_FALSE(refused);
      CHECK(refused.error().is(why));
      CHECK(r.listener->left_out().empty());
      const auto fenced = r.change({}, {far}, commit_kind::compulsory);
      REQUIRE_FALSE(fenced);
      CHECK(fenced.error().is(why));
      REQUIRE(r.listener->left_out().size() == 1);
      CHECK(r.listener->left_out()[0].what.where == far.where);
      CHECK(r.listener->left_out()[0].why.is(why));
      must(r.change({far}, {}));
      CHECK(r.listener->left_out().empty());
      CHECK(r.told().empty());
    }
  }
  rig<> r;  // a BAR that is being sized is no memory
  must(r.change({}, {r.at(r.a, half, region_kind::ram_device)}));
  CHECK(r.listener->left_out().empty());
}

TEST_CASE_TEMPLATE("the last page of 2^64 is mapped, used and unmapped where the IOMMU reaches it",
                   Granularity, whole_section, fixed_block<4 * KiB>, largest_page) {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  software_iommu iommu{{.usable = {extent<io_address>::everything()}}};
  auto joined = must(iommu.join(endpoint_group{"group", {{"device", pin_class::pins}}}));
  auto device = must(iommu.open(joined, "device"));
  no_lock mutex;
  dma_listener<software_iommu, Granularity, trim_edges, no_observation, no_lock> listener{iommu,
                                                                                          mutex};
  for (const std::uint64_t first :
       {std::uint64_t{0} - 64 * KiB, (std::uint64_t{1} << 63) - 32 * KiB}) {
    CAPTURE(first);
    const section top = part(ram, first, 0, 16);
    listener.begin(commit_kind::refusable);
    listener.add(top);
    must(listener.commit());
    CHECK(listener.usage().bytes == 64 * KiB);
    const std::byte sent{0x5a};
    must(device.dma_write(io_address{top.where.last.value}, {&sent, 1}));
    CHECK(ram.data()[64 * KiB - 1] == sent);
    listener.begin(commit_kind::compulsory);
    listener.remove(top);
    must(listener.commit());
    CHECK(listener.usage() == mapped_usage{});
    CHECK_FALSE(device.dma_write(io_address{top.where.last.value}, {&sent, 1}));
    ram.data()[64 * KiB - 1] = {};
  }
}

TEST_CASE("its errors bear the name that it was given") {
  rig<> r;
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  CHECK(r.change({}, {r.at(r.a, 0x100000)}).error().container().empty());
  r.listener->name("first");
  for (const commit_kind kind : {commit_kind::refusable, commit_kind::compulsory}) {
    r.book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
    const auto refused = r.change({}, {r.at(r.a, 0x100000)}, kind);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().container() == "first");
    CHECK(refused.error().subject() == "a");
    CHECK(refused.error().sentence().find(" in container 'first': ") != std::string::npos);
  }
}

TEST_CASE(
    "a rollback leaves out again what the change had taken away unmapped, for the same reason, and "
    "only a rollback does") {
  const auto rolled_back = [](rig<>& r, std::vector<section> const& removals,
                              std::vector<section> const& additions) {
    r.listener->begin_rollback();
    for (auto const& one : removals) r.listener->remove(one);
    for (auto const& one : additions) r.listener->add(one);
    return r.listener->commit();
  };
  rig<> r;
  const section x = r.at(r.a, 0x100000);
  section x_read_only = x;
  x_read_only.read_only = true;
  const section elsewhere = r.at(r.a, 0x200000);
  const section y = r.at(r.b, 0x300000);
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  CHECK_FALSE(r.change({}, {x}, commit_kind::compulsory));
  must(r.change({}, {y}));
  const auto as_before = [&] {
    const auto left_out = r.listener->left_out();
    REQUIRE(left_out.size() == 1);
    CHECK(left_out[0].what.where == x.where);
    CHECK(left_out[0].what.rights == access::read_write);
    CHECK(left_out[0].why.is_errno(ENOMEM));
    CHECK(r.listener->usage() == mapped_usage{1, 64 * KiB});
  };
  as_before();
  static_cast<void>(r.told());
  must(r.change({x}, {}));
  must(rolled_back(r, {}, {x}));
  CHECK(r.told().empty());
  as_before();
  must(r.change({x, y}, {elsewhere}));  // mapped there
  static_cast<void>(r.told());
  must(rolled_back(r, {elsewhere}, {x, y}));
  CHECK(r.told() == lines{"unmap [0x200000, 0x20ffff]", "map [0x300000, 0x30ffff]"});
  as_before();
  r.book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  CHECK_FALSE(
      r.change({x}, {x_read_only}, commit_kind::compulsory));  // left out for another reason
  static_cast<void>(r.told());
  must(rolled_back(r, {x_read_only}, {x}));
  CHECK(r.told().empty());
  as_before();
  // A change of its own maps it.
  must(r.change({x}, {}));
  must(r.change({}, {x}, commit_kind::compulsory));
  CHECK(r.listener->left_out().empty());
  CHECK(r.listener->usage() == mapped_usage{2, 128 * KiB});
}

}  // namespace runtime_listen_dma_listener
