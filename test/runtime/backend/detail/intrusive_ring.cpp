// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/detail/intrusive_ring.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <thread>

namespace runtime_backend_detail_intrusive_ring {

namespace {

struct element {
  int number = 0;
  tether::detail::ring_link<element> link{*this};
};
using ring = tether::detail::ring_link<element>;

/// The numbers in a ring, as digits.
int digits(ring const& head) {
  int all = 0;
  CHECK_FALSE(head.any_of([&](element const& one) {
    all = all * 10 + one.number;
    return false;
  }));
  return all;
}

}  // namespace

TEST_CASE(
    "elements join a ring in order, leave it anywhere, and take themselves out when they die") {
  ring head;
  CHECK(head.alone());
  CHECK(head.first() == nullptr);
  element one{1};
  auto two = std::make_unique<element>(2);
  element three{3};
  for (auto* element : {&one, two.get(), &three}) element->link.join(head);
  CHECK(digits(head) == 123);
  CHECK(head.has(two->link));
  CHECK(head.first() == &one);
  CHECK(head.any_of([](element const& any) { return any.number == 2; }));
  two.reset();
  CHECK(digits(head) == 13);
  one.link.leave();
  one.link.leave();
  CHECK(digits(head) == 3);
  CHECK(!head.has(one.link));
  CHECK(one.link.alone());
}

TEST_CASE(
    "an element is in one ring at a time, and a head that dies leaves its elements alone or among "
    "themselves") {
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

TEST_CASE("elements die on threads of their own while others come, go and are asked for") {
  ring head;
  element stays{7};
  stays.link.join(head);
  const auto come_and_go = [&](int number) {
    for (int i = 0; i < 5'000; ++i) {
      element one{number};
      one.link.join(head);
    }
  };
  std::thread first{come_and_go, 1};
  std::thread second{come_and_go, 2};
  for (int i = 0; i < 5'000; ++i) {
    CHECK(head.has(stays.link));
    CHECK_FALSE(stays.link.alone());
  }
  first.join();
  second.join();
  CHECK(digits(head) == 7);
}

}  // namespace runtime_backend_detail_intrusive_ring
