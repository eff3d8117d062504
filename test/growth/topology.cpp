// SPDX-License-Identifier: BSL-1.0
// The memory map: edits and commits of one and of all N regions, views, listeners.
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/topology/detail/difference.hpp>
#include <tether/topology/view_guard.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace growth_topology {

using namespace tether;
using namespace tether_test::growth;
using tether_test::must;

namespace {

/// A view is in chunks of 512 sections: what an edit copies stops growing there. So what is done to
/// one of N is judged from here on, some times over, and must cost the same whatever N is.
constexpr std::uint64_t chunks = 2048;
constexpr std::uint64_t some = 16;

/// `act(guest, i)` for some of N; `there`: whether those are plugged already, as all others are.
template <class Act>
void some_of(std::uint64_t n, meter& all, layout lies, bool there, Act act) {
  guest here{n, lies};
  auto order = shuffled(n);
  const std::span<std::uint64_t> chosen{order.data(), some};
  std::ranges::sort(order.begin() + some, order.end());
  {
    auto change = here.space.begin();
    for (const auto i : there ? std::span{order} : std::span{order}.subspan(some))
      here.ids[i] = must(change.place(here.one(i), here.place_of(i)));
    static_cast<void>(must(change.commit()));
  }
  all.count([&] {
    for (const auto i : chosen) act(here, i);
  });
}

template <layout Lies>
void plug_one_by_one(std::uint64_t n, meter& all) {
  guest here{n, Lies};
  all.count([&] {
    for (std::uint64_t i = 0; i != n; ++i) here.plug(i);
  });
}
template <layout Lies>
void plug_some(std::uint64_t n, meter& all) {
  some_of(n, all, Lies, false, [](guest& here, std::uint64_t i) { here.plug(i); });
}
template <layout Lies>
void unplug_some(std::uint64_t n, meter& all) {
  some_of(n, all, Lies, true, [](guest& here, std::uint64_t i) { here.unplug(i); });
}
template <layout Lies>
void plug_at_once(std::uint64_t n, meter& all) {
  guest here{n, Lies};
  all.count([&] { here.plug_all(); });
}
template <layout Lies>
void unplug_from_the_front(std::uint64_t n, meter& all) {
  guest here{n, Lies};
  here.plug_all();
  all.count([&] {
    for (std::uint64_t i = 0; i != n; ++i) here.unplug(i);
  });
}
template <layout Lies>
void unplug_from_behind(std::uint64_t n, meter& all) {
  guest here{n, Lies};
  here.plug_all();
  all.count([&] {
    for (std::uint64_t i = n; i-- != 0;) here.unplug(i);
  });
}
template <layout Lies>
void unplug_at_once(std::uint64_t n, meter& all) {
  guest here{n, Lies};
  here.plug_all();
  all.count([&] { here.unplug_all(); });
}

/// `edit(transaction, guest, i)` for each of N, in one commit.
template <class Edit>
void edit_all(std::uint64_t n, meter& all, Edit edit) {
  guest here{n};
  here.plug_all();
  all.count([&] {
    auto change = here.space.begin();
    for (std::uint64_t i = 0; i != n; ++i) edit(change, here, i);
    static_cast<void>(must(change.commit()));
  });
}
/// The same, a commit for each of some.
template <class Edit>
void edit_some(std::uint64_t n, meter& all, Edit edit) {
  some_of(n, all, layout::islands, true, [edit](guest& here, std::uint64_t i) {
    auto change = here.space.begin();
    edit(change, here, i);
    static_cast<void>(must(change.commit()));
  });
}
/// `act(guest)` once, on N.
template <class Act>
void once_on(std::uint64_t n, meter& all, layout lies, Act act) {
  guest here{n, lies};
  here.plug_all();
  all.count([&] { act(here); });
}

void read_only(transaction& change, guest& here, std::uint64_t i) {
  must(change.set_read_only(here.ids[i], true));
}
void replaced(transaction& change, guest& here, std::uint64_t i) {
  must(change.remove(here.ids[i]));
  here.ids[i] = must(change.place(here.one(i).read_only(), here.place_of(i)));
}

/// Regions that hide one another: N pages below, one of twice the size at each later turn.
void nested(std::uint64_t n, meter& all, bool ascending) {
  auto block = memory_of(n + 1);
  address_space space;
  all.count([&] {
    auto change = space.begin();
    for (std::uint64_t i = 0; i != n; ++i) {
      // each within the last, or around it
      const std::uint64_t pages = ascending ? i + 1 : n - i;
      static_cast<void>(must(change.place(region::ram(block, {}, pages * page), guest_address{},
                                          ascending ? -static_cast<int>(i) : static_cast<int>(i))));
    }
    static_cast<void>(must(change.commit()));
  });
}

void refused_commits(std::uint64_t n, meter& all) {
  guest here{n};
  deaf_listener listener;
  must(here.space.add_listener(listener));
  listener.refuses = true;
  all.count([&] {
    auto change = here.space.begin();
    for (std::uint64_t i = 0; i != n; ++i)
      static_cast<void>(must(change.place(here.one(i), here.place_of(i))));
    REQUIRE_FALSE(change.commit());
  });
  listener.refuses = false;
  must(here.space.remove_listener(listener));
}

const row edits[]{
    {"plug some islands of N", "address_space::place", promise::same, plug_some<layout::islands>,
     chunks},
    {"plug some neighbours of N that merge", "address_space::place", promise::same,
     plug_some<layout::neighbours>, chunks},
    {"plug some neighbours of N that do not merge", "address_space::place", promise::same,
     plug_some<layout::strangers>, chunks},
    {"plug N neighbours that merge, one by one", "address_space::place", promise::each,
     plug_one_by_one<layout::neighbours>},
    {"plug N islands at once", "address_space::begin transaction::place transaction::commit",
     promise::each, plug_at_once<layout::islands>},
    {"plug N neighbours that merge at once", "transaction::place transaction::commit",
     promise::each, plug_at_once<layout::neighbours>},
    {"plug N neighbours that do not merge at once", "transaction::place transaction::commit",
     promise::each, plug_at_once<layout::strangers>},
    {"unplug some islands of N", "address_space::remove", promise::same,
     unplug_some<layout::islands>, chunks},
    {"unplug some neighbours of N that merge", "address_space::remove", promise::same,
     unplug_some<layout::neighbours>, chunks},
    {"unplug some neighbours of N that do not merge", "address_space::remove", promise::same,
     unplug_some<layout::strangers>, chunks},
    {"unplug N neighbours that merge, from the front", "address_space::remove", promise::each,
     unplug_from_the_front<layout::neighbours>},
    {"unplug N neighbours that merge, from behind", "address_space::remove", promise::each,
     unplug_from_behind<layout::neighbours>},
    {"unplug N islands at once", "transaction::remove", promise::each,
     unplug_at_once<layout::islands>},
    {"unplug N neighbours that merge at once", "transaction::remove", promise::each,
     unplug_at_once<layout::neighbours>},
    {"make N islands read-only at once", "transaction::set_read_only", promise::each,
     [](std::uint64_t n, meter& all) { edit_all(n, all, read_only); }},
    {"make some islands of N read-only", "address_space::set_read_only", promise::same,
     [](std::uint64_t n, meter& all) { edit_some(n, all, read_only); }, chunks},
    {"make N merged neighbours read-only, one by one", "address_space::set_read_only",
     promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::neighbours, [n](guest& here) {
         for (std::uint64_t i = 0; i != n; ++i) must(here.space.set_read_only(here.ids[i], true));
       });
     }},
    {"disable and enable some islands of N", "address_space::set_enabled transaction::set_enabled",
     promise::same,
     [](std::uint64_t n, meter& all) {
       some_of(n, all, layout::islands, true, [](guest& here, std::uint64_t i) {
         must(here.space.set_enabled(here.ids[i], false));
         must(here.space.set_enabled(here.ids[i], true));
       });
     },
     chunks},
    {"log the dirty pages of N islands, one by one",
     "address_space::set_dirty_log transaction::set_dirty_log", promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [n](guest& here) {
         for (std::uint64_t i = 0; i != n; ++i) must(here.space.set_dirty_log(here.ids[i], true));
       });
     }},
    {"replace N islands at once", "transaction::remove transaction::place", promise::each,
     [](std::uint64_t n, meter& all) { edit_all(n, all, replaced); }},
    {"replace some islands of N", "transaction::remove transaction::place", promise::same,
     [](std::uint64_t n, meter& all) { edit_some(n, all, replaced); }, chunks},
    {"resize N islands at once", "transaction::remove transaction::place", promise::each,
     [](std::uint64_t n, meter& all) {
       edit_all(n, all, [](transaction& change, guest& here, auto i) {
         must(change.remove(here.ids[i]));
         static_cast<void>(must(change.place(region::mmio("larger", page + 16), here.place_of(i))));
       });
     }},
    {"move N islands at once", "transaction::move", promise::each,
     [](std::uint64_t n, meter& all) {
       edit_all(n, all, [](transaction& change, guest& here, auto i) {
         must(change.move(here.ids[i], here.place_of(i) + page));
       });
     }},
    {"move some islands of N", "address_space::move", promise::same,
     [](std::uint64_t n, meter& all) {
       some_of(n, all, layout::islands, true, [](guest& here, std::uint64_t i) {
         must(here.space.move(here.ids[i], here.place_of(i) + page));
       });
     },
     chunks},
    {"N commits that change nothing, on N", "transaction::commit", promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [n](guest& here) {
         for (std::uint64_t i = 0; i != n; ++i)
           static_cast<void>(must(here.space.begin().commit()));
       });
     }},
    {"commits whose edits take each other back, on N", "transaction::commit", promise::same,
     [](std::uint64_t n, meter& all) {
       edit_some(n, all, [](transaction& change, guest& here, std::uint64_t i) {
         must(change.set_enabled(here.ids[i], false));
         must(change.set_enabled(here.ids[i], true));
       });
     },
     chunks},
    {"roll N edits back", "transaction::~transaction", promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [n](guest& here) {
         auto change = here.space.begin();
         for (std::uint64_t i = 0; i != n; ++i) must(change.remove(here.ids[i]));
       });
     }},
    {"N transactions one inside the other", "address_space::begin transaction::commit",
     promise::each,
     [](std::uint64_t n, meter& all) {
       guest here{n};
       all.count([&] {
         std::vector<std::unique_ptr<transaction>> inside;
         for (std::uint64_t i = 0; i != n; ++i) {
           inside.emplace_back(new transaction{here.space.begin()});
           static_cast<void>(must(inside.back()->place(here.one(i), here.place_of(i))));
         }
         while (!inside.empty()) {
           static_cast<void>(must(inside.back()->commit()));
           inside.pop_back();
         }
       });
     }},
    {"N regions one around the other at once", "transaction::place transaction::commit",
     promise::each, [](std::uint64_t n, meter& all) { nested(n, all, true); }},
    {"N regions one within the other at once", "transaction::place transaction::commit",
     promise::each, [](std::uint64_t n, meter& all) { nested(n, all, false); }},
    {"one page of memory at N places at once", "transaction::place", promise::each,
     [](std::uint64_t n, meter& all) {
       auto block = memory_of(1);
       address_space space;
       all.count([&] {
         auto change = space.begin();
         for (std::uint64_t i = 0; i != n; ++i)
           static_cast<void>(must(change.place(region::ram(block), guest_address{i * page})));
         static_cast<void>(must(change.commit()));
       });
     }},
    {"some registers more above one region that has N", "address_space::place", promise::same,
     [](std::uint64_t n, meter& all) {
       auto block = memory_of(4 * n);
       address_space space;
       auto change = space.begin();
       static_cast<void>(must(change.place(region::ram(block), guest_address{})));
       for (std::uint64_t i = 0; i != n; ++i)
         static_cast<void>(
             must(change.place(region::mmio("registers", page), guest_address{4 * i * page}, 1)));
       static_cast<void>(must(change.commit()));
       all.count([&] {
         for (std::uint64_t i = 0; i != some; ++i)
           static_cast<void>(must(space.place(region::mmio("registers", page),
                                              guest_address{(4 * (n / some) * i + 2) * page}, 1)));
       });
     },
     chunks},
    {"a commit of N edits that is refused", "transaction::commit", promise::each, refused_commits},
    {"N regions in one place, one by one", "address_space::place", promise::square,
     [](std::uint64_t n, meter& all) {
       address_space space;
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i)
           static_cast<void>(must(space.place(region::mmio("registers", page), guest_address{})));
       });
     },
     128, "a commit looks at every region that overlaps what was edited, hidden ones too"},
};

/// N listeners of one map of four sections.
void listeners(std::uint64_t n, meter& all, bool come, bool from_behind) {
  guest here{4};
  here.plug_all();
  std::deque<deaf_listener> them(n);
  const auto add = [&] {
    for (std::uint64_t i = 0; i != n; ++i)
      must(here.space.add_listener(them[i], from_behind ? -static_cast<int>(i) : 0));
  };
  const auto remove = [&] {
    for (std::uint64_t i = 0; i != n; ++i)
      must(here.space.remove_listener(them[from_behind ? n - 1 - i : i]));
  };
  if (come) all.count(add);
  else add();
  if (come) remove();
  else all.count(remove);
}

constexpr const char* few =
    "a listener is found among the others one by one: a guest has one for each container";

const row questions[]{
    {"look N addresses up in a view of N", "address_space::view view_guard::find flat_view::find",
     promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [n](guest& here) {
         const auto view = here.space.view();
         for (std::uint64_t i = 0; i != n; ++i) CHECK(view.find(here.place_of(i)) != nullptr);
       });
     }},
    {"look one address up in a view of N", "flat_view::find", promise::same,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [n](guest& here) {
         const auto view = here.space.view();
         CHECK(view.find(here.place_of(n / 2)) != nullptr);
       });
     }},
    {"walk through a view of N",
     "view_guard::sections flat_view::begin flat_view::end flat_view::sections flat_view::size "
     "flat_view::empty",
     promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [n](guest& here) {
         const auto view = here.space.view();
         std::uint64_t seen = 0;
         for (section const& one : view.sections()) seen += one.where.size() / page;
         CHECK(seen == n);
         CHECK(view->size() == n);
         CHECK_FALSE(view->empty());
       });
     }},
    {"walk through the positions of a view of N",
     "flat_view::at flat_view::owner_at flat_view::after flat_view::end_position "
     "flat_view::first_ending_at_or_after flat_view::first_beginning_after flat_view::groups",
     promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [](guest& here) {
         const auto view = here.space.view();
         for (auto at = view->first_ending_at_or_after({}); at != view->end_position();) {
           CHECK(view->owner_at(at) != nullptr);
           at = view->first_beginning_after(view->at(at).where.first);
         }
         CHECK_FALSE(view->groups().empty());
       });
     }},
    {"ask N times for a view of N, and whether it is current",
     "address_space::view address_space::is_current", promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [n](guest& here) {
         for (std::uint64_t i = 0; i != n; ++i) CHECK(here.space.is_current(here.space.view()));
       });
     }},
    {"the difference of two views of N of which all differ", "", promise::each,
     [](std::uint64_t n, meter& all) {
       guest here{n};
       here.plug_all();
       const auto before = here.space.view();
       here.unplug_all();
       all.count([&] {
         CHECK(detail::difference::between(*before, *here.space.view()).removals.size() == n);
       });
     }},
    {"add N listeners", "address_space::add_listener", promise::square,
     [](std::uint64_t n, meter& all) { listeners(n, all, true, false); }, 128, few},
    {"add N listeners, each in front", "address_space::add_listener", promise::square,
     [](std::uint64_t n, meter& all) { listeners(n, all, true, true); }, 128, few},
    {"remove N listeners", "address_space::remove_listener", promise::square,
     [](std::uint64_t n, meter& all) { listeners(n, all, false, false); }, 128, few},
    {"remove N listeners, the last first", "address_space::remove_listener", promise::square,
     [](std::uint64_t n, meter& all) { listeners(n, all, false, true); }, 128, few},
    {"add and remove a listener of N sections",
     "address_space::add_listener address_space::remove_listener", promise::each,
     [](std::uint64_t n, meter& all) {
       once_on(n, all, layout::islands, [](guest& here) {
         deaf_listener listener;
         deaf_listener replay;
         must(here.space.add_listener(listener, 0, replay));
         must(here.space.remove_listener(listener));
       });
     }},
    {"a commit that N listeners follow, or are fenced by", "transaction::commit", promise::each,
     [](std::uint64_t n, meter& all) {
       guest here{1};
       std::deque<deaf_listener> them(n);
       for (auto& one : them) must(here.space.add_listener(one));
       all.count([&] {
         here.plug(0);
         for (auto& one : them) one.refuses = true;
         auto change = here.space.begin(commit_kind::compulsory);
         must(change.remove(here.ids[0]));
         CHECK(must(change.commit()).fenced.size() == n);
       });
       for (auto& one : them) must(here.space.remove_listener(one));
     }},
};

}  // namespace

TEST_CASE("edits of the memory map cost as promised") { judge_all(edits); }
TEST_CASE("views of the memory map, and its listeners, cost as promised") { judge_all(questions); }

/// Steps, not time: chasing pointers from section to section takes many times as many.
TEST_CASE("comparing two equal views takes not twice the steps of comparing two arrays") {
  guest here{4096};
  here.plug_all();
  const auto view = here.space.view();
  std::vector<detail::group_pointer> groups;
  for (auto const& group : view->groups()) {
    std::vector<detail::chunk_pointer> copies;
    for (auto const& one : group->chunks()) {
      auto again = detail::section_chunk::make(one->size());
      again->append(*one, 0, one->size());
      copies.push_back(std::move(again));
    }
    groups.push_back(detail::chunk_group::make(copies));
  }
  const flat_view copy{detail::group_list{groups}};
  const std::vector<section> sections{view->begin(), view->end()};
  const std::vector<section> like = sections;
  meter views;
  views.count([&] { CHECK(detail::difference::between(*view, copy).empty()); });
  meter arrays;
  arrays.count([&] {
    std::size_t same = 0;
    while (same != sections.size() && sections[same] == like[same]) ++same;
    CHECK(same == 4096);
  });
  INFO("views: ", views.all().steps, ", arrays: ", arrays.all().steps);
  CHECK(views.all().steps < 2 * arrays.all().steps);
}

}  // namespace growth_topology
