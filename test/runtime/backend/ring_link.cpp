// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/ring_link.hpp>

#include <doctest/doctest.h>

#include <memory>

namespace {

struct element {
  int number = 0;
  tether::detail::ring_link<element> link{*this};
};
using ring = tether::detail::ring_link<element>;

/// The numbers in a ring, as digits.
int digits(ring const& head) {
  int all = 0;
  for (element const* one = head.first(); one != nullptr; one = one->link.next()) all = all * 10 + one->number;
  return all;
}

}  // namespace

TEST_CASE("elements join a ring in order, leave it anywhere, and take themselves out when they die") {
  ring head;
  CHECK(head.alone());
  CHECK(head.first() == nullptr);
  element one{1};
  auto two = std::make_unique<element>(2);
  element three{3};
  for (auto* element : {&one, two.get(), &three}) element->link.join(head);
  CHECK(digits(head) == 123);
  CHECK(head.has(two->link));
  two.reset();
  CHECK(digits(head) == 13);
  one.link.leave();
  one.link.leave();
  CHECK(digits(head) == 3);
  CHECK(!head.has(one.link));
  CHECK(one.link.alone());
}

TEST_CASE("an element is in one ring at a time, and a head that dies leaves its elements alone or among themselves") {
  element one{1};
  {
    ring first;
    ring second;
    one.link.join(first);
    one.link.join(second);
    CHECK(first.alone());
    CHECK(digits(second) == 1);
    CHECK(!first.has(one.link));
  }
  CHECK(one.link.alone());
}
