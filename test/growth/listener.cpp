// SPDX-License-Identifier: BSL-1.0
// What follows the map: a `dma_listener` fed by hand, with N sections, mapped or left out.
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/backend/software_iommu.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/threading.hpp>
#include <tether/listen/audited.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/testing/recording.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace growth_listener {

using namespace tether;
using namespace tether_test::growth;
using tether_test::must;

namespace {

/// What pins is told of read-only memory.
struct pinning_iommu : software_iommu {
  static constexpr bool pins = true;
  using software_iommu::software_iommu;
};

constexpr std::uint64_t reach = 256 * MiB;

enum class kind : std::uint8_t { mapped, left_out, read_only };

template <class Feed, class Granularity = whole_section, class Observation = no_observation>
struct rig {
  using listener_type = dma_listener<recording<pinning_iommu>, Granularity, trim_edges, Observation,
                                     detail::no_mutex, Feed>;

  explicit rig(std::uint64_t n) : count{n}, block{memory_of(2 * n)} {}

  /// Section `i` of two pages, which merges with none: they are announced as they are.
  [[nodiscard]] section at(std::uint64_t i, kind how) {
    const guest_address first{(how == kind::left_out ? reach : 0) + i * 4 * page};
    section one{.where = {first, first + (2 * page - 1)},
                .memory = &block.backing(),
                .offset = block_offset{i * 2 * page}};
    if (how == kind::left_out) one.kind = region_kind::ram_device;
    one.read_only = how == kind::read_only;
    one.name = "ram";
    return one;
  }
  void add_all(kind how) {
    listener.begin(commit_kind::refusable);
    for (std::uint64_t i = 0; i != count; ++i) listener.add(at(i, how));
    must(listener.commit());
  }
  void remove_all(kind how, commit_kind whose = commit_kind::compulsory) {
    listener.begin(whose);
    for (std::uint64_t i = 0; i != count; ++i) listener.remove(at(i, how));
    must(listener.commit());
  }
  void add_one(std::uint64_t i, kind how) {
    listener.begin(commit_kind::refusable);
    listener.add(at(i, how));
    must(listener.commit());
  }
  void remove_one(std::uint64_t i, kind how) {
    listener.begin(commit_kind::refusable);
    listener.remove(at(i, how));
    must(listener.commit());
  }
  /// Counts `act`, and the calls that the backend gets.
  template <class Act>
  void count_in(meter& all, Act act) {
    const auto before = calls.entries().size();
    all.count(act);
    all.add({.calls = calls.entries().size() - before});
  }

  std::uint64_t count;
  ram_block block;
  journal calls;
  recording<pinning_iommu> iommu{
      calls, pinning_iommu{{.page_sizes = {4 * KiB | 1 * GiB},
                            .usable = {{io_address{0}, io_address{reach - 1}}}}}};
  detail::no_mutex mutex;
  listener_type listener{iommu, mutex};
};

template <class Feed, kind How>
void add_at_once(std::uint64_t n, meter& all) {
  rig<Feed> here{n};
  here.count_in(all, [&] { here.add_all(How); });
  here.remove_all(How);
}
template <class Feed, kind How>
void remove_at_once(std::uint64_t n, meter& all) {
  rig<Feed> here{n};
  here.add_all(How);
  here.count_in(all, [&] { here.remove_all(How, commit_kind::refusable); });
}
template <class Feed, kind How>
void add_one_by_one(std::uint64_t n, meter& all) {
  rig<Feed> here{n};
  here.count_in(all, [&] {
    for (const auto i : shuffled(n)) here.add_one(i, How);
  });
  here.remove_all(How);
}
template <class Feed, kind How>
void remove_one_by_one(std::uint64_t n, meter& all) {
  rig<Feed> here{n};
  here.add_all(How);
  here.count_in(all, [&] {
    for (const auto i : shuffled(n)) here.remove_one(i, How);
  });
}
/// N sections become read-only, or are left out, in one commit that ends as said.
enum class ending : std::uint8_t { followed, refused, compulsory };
template <class Feed, kind From, kind To, ending How>
void replace_at_once(std::uint64_t n, meter& all) {
  rig<Feed> here{n + 1};
  here.count -= 1;
  here.add_all(From);
  here.count_in(all, [&] {
    here.listener.begin(How == ending::compulsory ? commit_kind::compulsory
                                                  : commit_kind::refusable);
    for (std::uint64_t i = 0; i != n; ++i) here.listener.remove(here.at(i, From));
    for (std::uint64_t i = 0; i != n; ++i) here.listener.add(here.at(i, To));
    if (How == ending::refused) {
      here.listener.add(here.at(n, kind::mapped));
      here.calls.fail_at(backend_call::map, To == kind::left_out ? 1 : n + 1,
                         error::from_errno("map", ENOMEM));
    }
    CHECK(here.listener.commit().has_value() == (How != ending::refused));
  });
  here.remove_all(How == ending::refused ? From : To);
}
template <class Granularity>
void cut(std::uint64_t n, meter& all) {
  rig<detail::trusted_feed, Granularity> here{n};
  section whole = here.at(0, kind::mapped);
  whole.where.last = whole.where.first + (2 * n * page - 1);
  here.count_in(all, [&] {
    here.listener.begin(commit_kind::refusable);
    here.listener.add(whole);
    must(here.listener.commit());
    here.listener.begin(commit_kind::refusable);
    here.listener.remove(whole);
    must(here.listener.commit());
  });
}

using checked = detail::checked_feed;
using trusted = detail::trusted_feed;

const row changes[]{
    {"add N sections at once, checked",
     "dma_listener::begin dma_listener::add dma_listener::commit", promise::each,
     add_at_once<checked, kind::mapped>},
    {"add N sections at once, trusted", "dma_listener::add", promise::each,
     add_at_once<trusted, kind::mapped>},
    {"add N sections that are left out at once", "dma_listener::add", promise::each,
     add_at_once<checked, kind::left_out>},
    {"add N read-only sections at once", "dma_listener::add", promise::each,
     add_at_once<checked, kind::read_only>},
    {"remove N sections at once", "dma_listener::remove", promise::each,
     remove_at_once<checked, kind::mapped>},
    {"remove N sections that are left out at once", "dma_listener::remove", promise::each,
     remove_at_once<checked, kind::left_out>},
    {"remove N read-only sections at once", "dma_listener::remove", promise::each,
     remove_at_once<trusted, kind::read_only>},
    {"add N sections one by one, checked", "dma_listener::add", promise::each,
     add_one_by_one<checked, kind::mapped>},
    {"add N sections one by one, trusted", "dma_listener::add", promise::each,
     add_one_by_one<trusted, kind::mapped>, 512},
    {"leave out N sections one by one",
     "dma_listener::add left_out_list::begin_change left_out_list::add left_out_list::added "
     "left_out_list::keep describe",
     promise::each, add_one_by_one<trusted, kind::left_out>},
    {"add N read-only sections one by one", "dma_listener::add", promise::each,
     add_one_by_one<trusted, kind::read_only>},
    {"remove N sections one by one, checked", "dma_listener::remove", promise::each,
     remove_one_by_one<checked, kind::mapped>},
    {"remove N sections one by one, trusted", "dma_listener::remove", promise::each,
     remove_one_by_one<trusted, kind::mapped>},
    {"remove N left out sections one by one",
     "dma_listener::remove left_out_list::remove left_out_list::was_left_out", promise::each,
     remove_one_by_one<trusted, kind::left_out>},
    {"remove N read-only sections one by one", "dma_listener::remove", promise::each,
     remove_one_by_one<trusted, kind::read_only>},
    {"N sections become read-only", "dma_listener::commit", promise::each,
     replace_at_once<checked, kind::mapped, kind::read_only, ending::followed>},
    {"N sections become read-only, refused", "dma_listener::commit", promise::each,
     replace_at_once<checked, kind::mapped, kind::read_only, ending::refused>},
    {"N sections become writable, compulsorily", "dma_listener::commit", promise::each,
     replace_at_once<trusted, kind::read_only, kind::mapped, ending::compulsory>},
    {"N sections leave what the IOMMU reaches", "dma_listener::commit", promise::each,
     replace_at_once<trusted, kind::mapped, kind::left_out, ending::followed>},
    {"N sections come back to what the IOMMU reaches, refused", "dma_listener::commit",
     promise::each, replace_at_once<trusted, kind::left_out, kind::mapped, ending::refused>},
    {"N sections leave what the IOMMU reaches, compulsorily", "dma_listener::commit", promise::each,
     replace_at_once<trusted, kind::mapped, kind::left_out, ending::compulsory>},
    {"one section in N pieces", "dma_listener::commit fixed_block::pieces fixed_block::first_piece",
     promise::each, cut<fixed_block<4 * KiB>>},
    {"one section of N pages, in large pieces",
     "dma_listener::commit largest_page::pieces largest_page::first_piece", promise::each,
     cut<largest_page>},
    {"one section of N pages", "dma_listener::commit whole_section::pieces", promise::each,
     cut<whole_section>},
    {"roll N changes back that were followed",
     "dma_listener::begin_rollback left_out_list::restore left_out_list::roll_back", promise::each,
     [](std::uint64_t n, meter& all) {
       rig<trusted> here{n};
       here.add_all(kind::left_out);
       here.remove_all(kind::left_out, commit_kind::refusable);
       here.count_in(all, [&] {
         here.listener.begin_rollback();
         for (std::uint64_t i = 0; i != n; ++i) here.listener.add(here.at(i, kind::left_out));
         must(here.listener.commit());
       });
       CHECK(here.listener.left_out().size() == n);
     }},
    {"a commit of N wrong additions and removals", "dma_listener::commit", promise::each,
     [](std::uint64_t n, meter& all) {
       rig<checked> here{n};
       here.add_all(kind::mapped);
       here.count_in(all, [&] {
         here.listener.begin(commit_kind::refusable);
         for (std::uint64_t i = 0; i != n; ++i) here.listener.remove(here.at(i, kind::left_out));
         for (std::uint64_t i = 0; i != n; ++i) here.listener.add(here.at(i, kind::mapped));
         CHECK_FALSE(here.listener.commit());
       });
       here.remove_all(kind::mapped);
     }},
    {"ask N times for what is mapped",
     "dma_listener::usage dma_listener::trimmed_bytes dma_listener::left_out_version "
     "dma_listener::diverged dma_listener::observer dma_listener::name",
     promise::each,
     [](std::uint64_t n, meter& all) {
       rig<trusted> here{n};
       here.add_all(kind::mapped);
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) {
           here.listener.name("first");
           CHECK(here.listener.usage().mappings == n);
           CHECK(here.listener.trimmed_bytes() + here.listener.left_out_version() == 0);
           CHECK_FALSE(here.listener.diverged());
           static_cast<void>(here.listener.observer());
         }
       });
       here.remove_all(kind::mapped);
     }},
    {"ask what N are left out",
     "dma_listener::left_out left_out_list::all left_out_list::size left_out_list::version",
     promise::each,
     [](std::uint64_t n, meter& all) {
       rig<trusted> here{n};
       here.add_all(kind::left_out);
       all.count([&] { CHECK(here.listener.left_out().size() == n); });
     }},
    {"populate N read-only sections", "dma_listener::populate_read_only", promise::each,
     [](std::uint64_t n, meter& all) {
       rig<trusted> here{n};
       here.add_all(kind::read_only);
       all.count([&] { must(here.listener.populate_read_only()); });
       here.remove_all(kind::read_only);
     }},
    {"diverge with N sections, and forget them",
     "dma_listener::diverge dma_listener::keep_memory_for_ever dma_listener::reset "
     "left_out_list::clear",
     promise::each,
     [](std::uint64_t n, meter& all) {
       rig<checked> here{n};
       here.add_all(kind::mapped);
       all.count([&] {
         here.listener.diverge(error::from_errno("leave", EIO));
         here.listener.begin(commit_kind::compulsory);
         for (std::uint64_t i = 0; i != n; ++i) here.listener.remove(here.at(i, kind::mapped));
         CHECK_FALSE(here.listener.commit());
         here.listener.reset();
       });
     }},
};

using audited_rig = rig<trusted, whole_section, basic_audited<no_observation, linux_calls>>;

const row observers[]{
    {"record the frames of N sections, and let go of them",
     "audited::mapped audited::unmapped audited::pinning", promise::each,
     [](std::uint64_t n, meter& all) {
       audited_rig here{n};
       here.count_in(all, [&] {
         here.listener.observer().pinning(true);
         here.add_all(kind::mapped);
         here.remove_all(kind::mapped);
       });
     }},
    {"begin to pin N sections, compare them, and end it",
     "audited::pinning audited::compare audit_report::clean", promise::each,
     [](std::uint64_t n, meter& all) {
       audited_rig here{n};
       here.add_all(kind::mapped);
       all.count([&] {
         here.listener.observer().pinning(true);
         CHECK(must(here.listener.observer().compare()).compared == 2 * n * page);
         here.listener.observer().pinning(false);
       });
       here.remove_all(kind::mapped);
     }},
    {"N who join when N sections are pinned already, and leave", "audited::pinning", promise::each,
     [](std::uint64_t n, meter& all) {
       audited_rig here{n};
       here.add_all(kind::mapped);
       here.listener.observer().pinning(true);
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) here.listener.observer().pinning(true);
       });
       here.listener.observer().pinning(false);
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) here.listener.observer().pinning(false);
       });
       here.remove_all(kind::mapped);
     }},
};

}  // namespace

TEST_CASE("a listener that is fed by hand costs as promised") { judge_all(changes); }
TEST_CASE("what observes the mappings costs as promised") { judge_all(observers); }

}  // namespace growth_listener
