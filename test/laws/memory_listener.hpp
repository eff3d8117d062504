// SPDX-License-Identifier: BSL-1.0
// The laws of `memory_listener`, for every model. A subject wraps one:
//
//     listener()              the listener itself
//     state()                 everything that it has mapped, comparable
//     reaches(section)        whether all of this section is mapped
//     refuse_next_commit()    makes it fail, as a full container would
//     ram(first, pages)       a section of real memory that it could map, on pages of 4 KiB
#pragma once

#include <tether/topology/memory_listener.hpp>
#include <tether/topology/section.hpp>

#include <doctest/doctest.h>

#include <initializer_list>

namespace tether_test {

/// Tells a whole change.
template <class Listener>
[[nodiscard]] tether::result<void> tell(Listener& listener, std::initializer_list<tether::section> removals,
                                        std::initializer_list<tether::section> additions,
                                        tether::commit_kind kind = tether::commit_kind::refusable) {
  listener.begin(kind);
  for (auto const& one : removals) listener.remove(one);
  for (auto const& one : additions) listener.add(one);
  return listener.commit();
}

template <class Subject>
void memory_listener_laws() {
  using tether::commit_kind;

  SUBCASE("what was added is reached, what was removed is not, and all removed is as if nothing had been") {
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
    CHECK_FALSE(refused.error().stuck());
    CHECK(subject.state() == before);
    REQUIRE(tell(subject.listener(), {a}, {b}));
    CHECK(subject.reaches(b));
    CHECK_FALSE(subject.reaches(a));
    REQUIRE(tell(subject.listener(), {b}, {}));
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

}  // namespace tether_test
