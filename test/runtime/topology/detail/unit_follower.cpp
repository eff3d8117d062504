// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/unit_follower.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>

namespace runtime_topology_detail_unit_follower {

using namespace tether;
using detail::unit_follower;
using detail::unit_followers;

namespace {

/// Three owners with a section each, "ab" of the first: every call is noted, and can be made to
/// fail.
struct three {
  struct named : unit_follower {
    char name = '?';
    three* all = nullptr;
  };
  struct owner_type {
    char name;
  };
  std::array<owner_type, 3> owners{{{'A'}, {'B'}, {'C'}}};
  std::array<named, 4> parts{};
  unit_followers list;
  std::string calls;
  std::string failing;  // calls that fail, as noted

  static named& of(unit_follower& one) { return static_cast<named&>(one); }
  bool note(char act, char who) {
    const std::string call{act, who};
    calls += (calls.empty() ? "" : " ") + call;
    return failing.find(call) == std::string::npos;
  }
  static result<bool> outcome(bool done) {
    if (done) return true;
    return failure(error{"test", errc::over_budget});
  }
  static const unit_follower::calls how;

  three() {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      parts[i].how = &how;
      parts[i].owner = &owners[i == 3 ? 0 : i];
      parts[i].where = {block_offset{0}, block_offset{i == 2 ? 0xfffU : 0xffffU}};
      parts[i].name = "abcd"[i];
      parts[i].all = this;
    }
    for (const std::size_t i : {2U, 0U, 1U}) list.insert(parts[i]);
    list.insert(parts[3], &parts[0]);
  }
  three(three const&) = delete;
};

const unit_follower::calls three::how{
    [](unit_follower& one) noexcept {
      return three::of(one).all->note('(', static_cast<three::owner_type*>(one.owner)->name);
    },
    [](unit_follower& one) noexcept {
      static_cast<void>(
          three::of(one).all->note(')', static_cast<three::owner_type*>(one.owner)->name));
    },
    [](unit_follower& one, extent<block_offset>) noexcept {
      return three::outcome(three::of(one).all->note('-', three::of(one).name));
    },
    [](unit_follower& one, extent<block_offset>) noexcept {
      return three::outcome(three::of(one).all->note('+', three::of(one).name));
    },
    [](unit_follower& one, error const&) noexcept {
      static_cast<void>(three::of(one).all->note('!', three::of(one).name));
    },
};

constexpr extent<block_offset> first_unit{block_offset{0}, block_offset{0xfff}};
constexpr extent<block_offset> second_unit{block_offset{0x1000}, block_offset{0x1fff}};

}  // namespace

TEST_CASE("locks are taken once for each owner that maps the unit, in one order") {
  three all;
  CHECK(all.list.begin_all(first_unit) == nullptr);
  CHECK(all.calls == "(A (B (C");
  all.calls.clear();
  all.list.end_all(first_unit);
  CHECK(all.calls == ")A )B )C");
  all.calls.clear();
  CHECK(all.list.begin_all(second_unit) == nullptr);
  all.list.end_all(second_unit);
  CHECK(all.calls == "(A (B )A )B");
}

TEST_CASE("of a busy owner, those before it are given back") {
  three all;
  all.failing = "(C";
  CHECK(all.list.begin_all(first_unit) == &all.parts[2]);
  CHECK(all.calls == "(A (B (C )A )B");
}

TEST_CASE("all or nothing") {
  three all;
  CHECK(all.list.unmap(first_unit).has_value());
  CHECK(all.calls == "-a -d -b -c");
  all.calls.clear();
  all.failing = "-c";
  auto done = all.list.unmap(first_unit);
  REQUIRE_FALSE(done.has_value());
  CHECK_FALSE(done.error().rollback_failed());
  CHECK(all.calls == "-a -d -b -c +a +d +b");
  all.calls.clear();
  all.failing = "+b -d";
  done = all.list.map(second_unit);
  REQUIRE_FALSE(done.has_value());
  CHECK(done.error().rollback_failed());
  CHECK(all.calls == "+a +d +b -a -d !d");
}

TEST_CASE("mapped again wherever it was unmapped, whoever fails") {
  three all;
  CHECK(all.list.unmap(first_unit).has_value());
  all.parts[1].changed = false;  // it had nothing of it
  all.calls.clear();
  all.failing = "+a";
  CHECK_FALSE(all.list.map_again(first_unit));
  CHECK(all.calls == "+a !a +d +c");
}

TEST_CASE("mapped where that is possible") {
  three all;
  all.failing = "(B +a";
  const auto busy = [&all](unit_follower const& one) {
    return error{"populate", std::make_error_code(std::errc::device_or_resource_busy)}.in(
        &one == &all.parts[1] ? "B" : "another");
  };
  const auto done = all.list.map_where_possible(first_unit, busy);
  REQUIRE_FALSE(done.has_value());
  CHECK(done.error().is(errc::over_budget));  // the first failure
  CHECK(all.calls == "(A +a )A (A +d )A (B (C +c )C");
  all.failing = "(B";
  const auto waits = all.list.map_where_possible(first_unit, busy);
  REQUIRE_FALSE(waits.has_value());
  CHECK(waits.error().container() == "B");
}

TEST_CASE("who was erased is called no more; one of its owner that is beside it is named") {
  three all;
  CHECK(all.list.erase(all.parts[1]) == nullptr);
  CHECK(all.list.erase(all.parts[0]) == &all.parts[3]);
  CHECK(all.list.map(first_unit).has_value());
  CHECK(all.calls == "+d +c");
  all.calls.clear();
  all.list.insert(all.parts[0], &all.parts[3]);
  CHECK(all.list.erase(all.parts[0]) == &all.parts[3]);
  all.list.insert(all.parts[1]);
  CHECK(all.list.erase(all.parts[2]) == nullptr);
  CHECK(all.list.erase(all.parts[3]) == nullptr);
  CHECK(all.list.map(first_unit).has_value());
  CHECK(all.calls == "+b");
}

}  // namespace runtime_topology_detail_unit_follower
