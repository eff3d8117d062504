// SPDX-License-Identifier: BSL-1.0
// With exceptions; `package/no_exceptions` is the other half.
#include <tether/core/detail/exceptions.hpp>

#include <support/failing_allocation.hpp>

#include <doctest/doctest.h>

#include <exception>
#include <stdexcept>
#include <vector>

namespace runtime_core_detail_exceptions {

using namespace tether;

static_assert(detail::sees_failed_allocations);

TEST_CASE("what is thrown in a TETHER_TRY is caught behind it, and thrown again where it is told") {
  int caught = 0;
  const auto fails = [&] {
    TETHER_TRY { throw std::runtime_error{"no"}; }
    TETHER_CATCH(std::exception const&) {
      ++caught;
      TETHER_RETHROW;
    }
  };
  CHECK_THROWS_AS(fails(), std::runtime_error);
  CHECK(caught == 1);
}

TEST_CASE("make_room makes room for so many more, at least doubles, and asks for none in vain") {
  std::vector<int> list;
  CHECK(detail::make_room(list, 5));
  CHECK(list.capacity() >= 5);
  list.assign(8, 1);
  list.shrink_to_fit();
  const auto before = list.capacity();
  CHECK(detail::make_room(list));
  CHECK(list.capacity() >= 2 * before);
  int const* const at = list.data();
  CHECK(detail::make_room(list, list.capacity() - list.size()));
  CHECK(list.data() == at);
}

TEST_CASE("make_room changes nothing where memory is too short") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  std::vector<int> list{1};
  list.shrink_to_fit();
  const auto before = list.capacity();
  tether_test::failing_allocation = 1;
  const bool made = detail::make_room(list);
  tether_test::failing_allocation = 0;
  CHECK(!made);
  CHECK(list.capacity() == before);
  CHECK(list == std::vector<int>{1});
}

}  // namespace runtime_core_detail_exceptions
