// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/detail/ledger.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace runtime_inhibit_detail_ledger {

using namespace tether;
using namespace tether::detail;
using tether_test::stopped_by;

namespace {

std::vector<std::string> listed(ledger const& book) {
  std::vector<std::string> all;
  book.for_each([&](holder_info const& one) {
    all.push_back(std::string{one.name} + ":" + std::to_string(one.count));
  });
  return all;
}

}  // namespace

TEST_CASE("entries are listed latest first, once each, and unlisted at zero") {
  ledger book;
  hold_entry a{"a"};
  hold_entry b{"b"};
  hold_entry c{"c"};
  CHECK(book.latest().empty());
  book.add(a, entry_kind::any_hold, 1);
  book.add(b, entry_kind::uncoordinated_hold, 2);
  book.add(a, entry_kind::any_hold, 4);
  book.add(c, entry_kind::suspension, 0);
  CHECK(listed(book) == std::vector<std::string>{"b:2", "a:5"});
  CHECK(book.latest() == "b");
  CHECK(book.counts() == gate_counts{5, 2, 0, 0, 0});
  CHECK(book.find(entry_kind::any_hold, entry_kind::uncoordinated_hold) == "b");
  CHECK(book.find(entry_kind::any_hold, entry_kind::any_hold) == "a");
  CHECK(book.find(entry_kind::suspension, entry_kind::suspension).empty());
  book.subtract(b, 2);
  CHECK(listed(book) == std::vector<std::string>{"a:5"});
  book.subtract(a, 0);
  book.subtract(a, 5);
  CHECK(book.empty());
  CHECK(book.counts() == gate_counts{});
}

TEST_CASE("who waits for its own permit is told so, and nobody else") {
  const auto own = refused_hold(std::errc::resource_deadlock_would_occur, "nic");
  CHECK(own.sentence().find("this thread has a permit to discard") != std::string::npos);
  const auto busy = refused_hold(std::errc::device_or_resource_busy, "nic");
  CHECK(busy.sentence().find("permit") == std::string::npos);
  CHECK(busy.subject() == "nic");
}

TEST_CASE("an entry that was emptied may count another kind") {
  ledger book;
  hold_entry a{"a"};
  book.add(a, entry_kind::any_hold, 1);
  book.subtract(a, 1);
  book.add(a, entry_kind::any_requirement, 1);
  CHECK(book.counts() == gate_counts{0, 0, 1, 0, 0});
  book.subtract(a, 1);
}

TEST_CASE("a relocated entry keeps name and count, and the old one has none") {
  ledger book;
  hold_entry from{"from"};
  hold_entry other{"other"};
  hold_entry to{"to"};
  book.add(from, entry_kind::coordinated_requirement, 3);
  book.add(other, entry_kind::any_hold, 1);
  book.relocate(from, to);
  CHECK(from.count() == 0);
  CHECK(to.count() == 3);
  CHECK(to.name() == "from");
  CHECK(book.counts() == gate_counts{1, 0, 0, 3, 0});
  book.subtract(to, 3);
  book.subtract(other, 1);
  CHECK(book.empty());
}

TEST_CASE("entries can go in any order, and the list and the counts always agree") {
  ledger book;
  std::vector<std::unique_ptr<hold_entry>> entries;
  for (int i = 0; i < 8; ++i) entries.push_back(std::make_unique<hold_entry>(std::to_string(i)));
  constexpr std::array kinds{entry_kind::any_hold, entry_kind::uncoordinated_hold,
                             entry_kind::any_requirement, entry_kind::coordinated_requirement,
                             entry_kind::suspension};
  std::uint32_t random = 1;
  for (int step = 0; step < 5000; ++step) {
    random = random * 1664525U + 1013904223U;
    hold_entry& one = *entries[(random >> 8) % entries.size()];
    if (one.count() != 0 && (random >> 20) % 2 == 0)
      book.subtract(one, 1 + (random >> 24) % one.count());
    else
      book.add(one, one.count() != 0 ? one.what() : kinds[(random >> 12) % kinds.size()],
               (random >> 16) % 3);
    gate_counts counts{};
    book.for_each([&](holder_info const& who) {
      switch (who.what) {
        case entry_kind::any_hold: counts.any_holds += who.count; break;
        case entry_kind::uncoordinated_hold: counts.uncoordinated_holds += who.count; break;
        case entry_kind::any_requirement: counts.any_requirements += who.count; break;
        case entry_kind::coordinated_requirement:
          counts.coordinated_requirements += who.count;
          break;
        case entry_kind::suspension: counts.suspensions += who.count; break;
      }
    });
    REQUIRE(counts == book.counts());
  }
  for (auto& one : entries) book.subtract(*one, one->count());
  CHECK(book.empty());
}

TEST_CASE("releasing what is not held stops the program") {
  CHECK(stopped_by([] {
          ledger book;
          hold_entry one{"one"};
          book.add(one, entry_kind::any_hold, 1);
          book.subtract(one, 2);
        }).find("tether[I6]") != std::string::npos);
  CHECK(stopped_by([] {
          ledger book;
          hold_entry one{"one"};
          hold_entry two{"two"};
          book.add(one, entry_kind::any_hold, 1);
          book.subtract(two, 1);
        }).find("tether[I6]") != std::string::npos);
}

TEST_CASE("one entry for two kinds stops the program") {
  CHECK(stopped_by([] {
          ledger book;
          hold_entry one{"one"};
          book.add(one, entry_kind::any_hold, 1);
          book.add(one, entry_kind::suspension, 1);
        }).find("tether[I5]") != std::string::npos);
}

TEST_CASE("counts do not come round to zero: what does not fit is not counted") {
  constexpr std::uint32_t most = 0xffff'ffff;
  for (const entry_kind what :
       {entry_kind::any_hold, entry_kind::uncoordinated_hold, entry_kind::any_requirement,
        entry_kind::coordinated_requirement, entry_kind::suspension}) {
    ledger book;
    hold_entry one{"one"};
    hold_entry two{"two"};
    CHECK(book.has_room(what, most));
    book.add(one, what, most - 1);
    CHECK(book.has_room(what, 1));
    CHECK_FALSE(book.has_room(what, 2));
    CHECK(book.has_room(
        what == entry_kind::suspension ? entry_kind::any_hold : entry_kind::suspension, most));
    book.add(two, what, 1);
    CHECK_FALSE(book.has_room(what, 1));
    CHECK(book.has_room(what, 0));
    const std::string said = stopped_by([&] { book.add(two, what, 1); });
    CHECK(said.find("tether[I17]") != std::string::npos);
    book.subtract(one, one.count());
    book.subtract(two, two.count());
    CHECK(book.empty());
  }
}

TEST_CASE("a copy is whole, or says how much room it needs, and allocates nothing") {
  ledger book;
  hold_entry a{"a"};
  hold_entry b{"b"};
  gate_status copy;
  copy.holders = {{label{"old"}, entry_kind::suspension, 1}};
  copy.holders.shrink_to_fit();
  CHECK(book.copy_to(copy) == 0);
  CHECK(copy == gate_status{});
  book.add(a, entry_kind::any_hold, 1);
  book.add(b, entry_kind::uncoordinated_hold, 2);
  CHECK(book.copy_to(copy) == 2);
  CHECK(copy.holders.capacity() == 1);
  copy.holders.reserve(2);
  CHECK(book.copy_to(copy) == 0);
  CHECK(copy == gate_status{.counts = book.counts(),
                            .holders = {{label{"b"}, entry_kind::uncoordinated_hold, 2},
                                        {label{"a"}, entry_kind::any_hold, 1}}});
  book.subtract(a, 1);
  book.subtract(b, 2);
}

TEST_CASE("mapping in blocks is advised where it helps: for discards that are coordinated") {
  CHECK(std::string_view{how_to_allow(requirement_kind::any)}.find("blocks") ==
        std::string_view::npos);
  CHECK(std::string_view{how_to_allow(requirement_kind::coordinated)}.find("fixed_block<Size>") !=
        std::string_view::npos);
}

}  // namespace runtime_inhibit_detail_ledger
