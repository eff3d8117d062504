// SPDX-License-Identifier: BSL-1.0
// The laws of `memory_listener`, for every model. A subject wraps one:
//
//     listener()              the listener itself
//     state()                 everything that it has mapped, comparable
//     reaches(section)        whether all of this section is mapped
//     refuse_next_commit()    makes it fail, as a full container would
//     ram(first, pages)       a section of real memory that it could map, on pages of 4 KiB
//
// and, where it can leave something out:
//
//     bar(first, pages)       a section that it will leave out, on pages of 4 KiB
//     left_out()              what it has left out, in order, comparable
//
// and, where it knows beforehand that it could not follow (`could_follow`):
//
//     hopeless(pages)         a section of RAM that it can never map, on pages of 4 KiB
#pragma once

#include <tether/topology/memory_listener.hpp>
#include <tether/topology/section.hpp>

#include <doctest/doctest.h>

#include <initializer_list>
#include <utility>
#include <vector>

namespace tether::laws {

/// Tells a whole change.
template <class Listener>
[[nodiscard]] result<void> tell(Listener& listener, std::initializer_list<section> removals,
                                std::initializer_list<section> additions,
                                commit_kind kind = commit_kind::refusable) {
  listener.begin(kind);
  for (auto const& one : removals) listener.remove(one);
  for (auto const& one : additions) listener.add(one);
  return listener.commit();
}

template <class Subject>
void check_memory_listener() {
  SUBCASE(
      "what was added is reached, what was removed is not, and all removed is as if nothing had "
      "been") {
    Subject subject;
    const auto nothing = subject.state();
    const auto a = subject.ram(0, 4);
    const auto b = subject.ram(8, 4);
    REQUIRE(tell(subject.listener(), {}, {a, b}));
    CHECK(subject.reaches(a));
    CHECK(subject.reaches(b));
    REQUIRE(tell(subject.listener(), {a}, {}));
    CHECK_FALSE(subject.reaches(a));
    CHECK(subject.reaches(b));
    REQUIRE(tell(subject.listener(), {b}, {}));
    CHECK(subject.state() == nothing);
  }

  SUBCASE("within a change removals take effect first, so the same place may be taken again") {
    Subject subject;
    const auto whole = subject.ram(0, 12);
    REQUIRE(tell(subject.listener(), {}, {whole}));
    const auto lower = subject.ram(0, 4);
    const auto upper = subject.ram(8, 4);
    REQUIRE(tell(subject.listener(), {whole}, {lower, upper}));
    CHECK(subject.reaches(lower));
    CHECK(subject.reaches(upper));
    CHECK_FALSE(subject.reaches(whole));
    REQUIRE(tell(subject.listener(), {lower, upper}, {}));
  }

  SUBCASE("a refused change leaves it as it was, and it goes on") {
    Subject subject;
    const auto a = subject.ram(0, 4);
    const auto b = subject.ram(8, 4);
    REQUIRE(tell(subject.listener(), {}, {a}));
    const auto before = subject.state();
    subject.refuse_next_commit();
    const auto refused = tell(subject.listener(), {a}, {b});
    REQUIRE_FALSE(refused);
    CHECK_FALSE(refused.error().rollback_failed());
    CHECK(subject.state() == before);
    REQUIRE(tell(subject.listener(), {a}, {b}));
    CHECK(subject.reaches(b));
    CHECK_FALSE(subject.reaches(a));
    REQUIRE(tell(subject.listener(), {b}, {}));
  }

  if constexpr (requires(Subject& subject) { subject.left_out(); }) {
    SUBCASE(
        "a refused change leaves what was left out as it was, also what the change takes out and "
        "puts back, or leaves out itself") {
      Subject subject;
      const auto x = subject.bar(0, 4);
      const auto y = subject.bar(8, 4);
      const auto z = subject.bar(16, 4);
      const auto a = subject.ram(0, 4);
      const auto b = subject.ram(8, 4);
      REQUIRE(tell(subject.listener(), {}, {x, y, a}));
      const auto state = subject.state();
      const auto before = subject.left_out();
      REQUIRE(before.size() == 2);
      for (auto const& [removals, additions] :
           {std::pair{std::vector{x}, std::vector{x, b}},
            std::pair{std::vector{y, x}, std::vector{x, y, b}},
            std::pair{std::vector{y}, std::vector{z, b}},
            std::pair{std::vector{x, a}, std::vector{z, x, b}}}) {
        subject.refuse_next_commit();
        subject.listener().begin(commit_kind::refusable);
        for (auto const& one : removals) subject.listener().remove(one);
        for (auto const& one : additions) subject.listener().add(one);
        const auto refused = subject.listener().commit();
        REQUIRE_FALSE(refused);
        CHECK_FALSE(refused.error().rollback_failed());
        CHECK(subject.left_out() == before);
        CHECK(subject.state() == state);
      }
      REQUIRE(tell(subject.listener(), {x}, {x}));
      CHECK(subject.left_out().size() == 2);
      REQUIRE(tell(subject.listener(), {x}, {}));
      CHECK(subject.left_out().size() == 1);
      CHECK(subject.state() == state);
      REQUIRE(tell(subject.listener(), {y, a}, {}, commit_kind::compulsory));
      CHECK(subject.left_out().empty());
    }
  }

  if constexpr (requires(Subject& subject) { subject.hopeless(1); }) {
    SUBCASE("asked whether it could follow, it says what its commit would, and nothing changes") {
      Subject subject;
      const auto a = subject.ram(0, 4);
      const auto b = subject.ram(8, 4);
      const auto x = subject.bar(0, 4);
      const auto y = subject.bar(8, 4);
      REQUIRE(tell(subject.listener(), {}, {a, x}));
      const auto state = subject.state();
      const auto left_out = subject.left_out();
      const std::vector ours{a, x};
      for (auto const& [removals, additions] :
           {std::pair{ours, std::vector<section>{}}, std::pair{ours, std::vector{b, y}},
            std::pair{ours, ours}, std::pair{ours, std::vector{b, y, subject.hopeless(4)}},
            std::pair{std::vector{x}, std::vector{y, subject.hopeless(1)}}}) {
        for (int asked = 0; asked != 2; ++asked) {
          const auto could = subject.listener().could_follow(removals, additions);
          REQUIRE(subject.listener().could_follow(ours, std::vector{y}));  // and then not told
          CHECK(subject.state() == state);
          CHECK(subject.left_out() == left_out);
          subject.listener().begin(commit_kind::refusable);
          for (auto const& one : removals) subject.listener().remove(one);
          for (auto const& one : additions) subject.listener().add(one);
          const auto followed = subject.listener().commit();
          REQUIRE(could.has_value() == followed.has_value());
          if (!could) {
            CHECK(could.error().sentence() == followed.error().sentence());
          } else {
            subject.listener().begin(commit_kind::refusable);
            for (auto const& one : additions) subject.listener().remove(one);
            for (auto const& one : removals) subject.listener().add(one);
            REQUIRE(subject.listener().commit());
          }
          CHECK(subject.state() == state);
          CHECK(subject.left_out() == left_out);
        }
      }
    }
  }

  SUBCASE("a compulsory change that it cannot follow leaves nothing mapped of what was removed") {
    Subject subject;
    const auto a = subject.ram(0, 4);
    const auto b = subject.ram(8, 4);
    REQUIRE(tell(subject.listener(), {}, {a}));
    subject.refuse_next_commit();
    REQUIRE_FALSE(tell(subject.listener(), {a}, {b}, commit_kind::compulsory));
    CHECK_FALSE(subject.reaches(a));
  }

  SUBCASE("other rights at the same place are a removal and an addition, and it follows") {
    Subject subject;
    auto writable = subject.ram(0, 4);
    auto readable = writable;
    readable.read_only = true;
    REQUIRE(tell(subject.listener(), {}, {writable}));
    const auto before = subject.state();
    REQUIRE(tell(subject.listener(), {writable}, {readable}));
    CHECK_FALSE(subject.state() == before);
    REQUIRE(tell(subject.listener(), {readable}, {writable}));
    CHECK(subject.state() == before);
    REQUIRE(tell(subject.listener(), {writable}, {}));
  }

  SUBCASE("an empty change succeeds and does nothing") {
    Subject subject;
    const auto nothing = subject.state();
    REQUIRE(tell(subject.listener(), {}, {}));
    CHECK(subject.state() == nothing);
  }
}

}  // namespace tether::laws
