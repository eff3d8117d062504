// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/published.hpp>

#include <tether/core/error.hpp>
#include <tether/topology/section.hpp>

#include <support/failing_allocation.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <mutex>
#include <vector>

namespace runtime_attach_detail_published {

using namespace tether;

namespace {

left_out_section left(std::uint64_t at) {
  return {.what = {.where = {guest_address{at}, guest_address{at + 4095}}, .name = label{"bar"}},
          .why = error{"map", errc::not_aligned}};
}
std::vector<std::uint64_t> places(detail::published const& now) {
  std::vector<std::uint64_t> all;
  for (auto const& [first, one] : now.left_out) {
    CHECK(first == one.what.where.first);
    all.push_back(first.value);
  }
  return all;
}

}  // namespace

TEST_CASE(
    "lists are copied when what is left out has another version, or other ranges are usable") {
  const std::vector<extent<io_address>> usable{{io_address{0}, io_address{0xffff}}};
  std::vector<left_out_section> all{left(0), left(0x1000)};
  const auto listed = [&all](left_out_copy& copy) {
    copy.clear();
    for (auto const& one : all) copy.emplace(one.what.where.first, one);
  };
  detail::published now;
  CHECK_FALSE(now.lists_equal(0, {}));
  now.copy_lists(listed, 0, usable);
  CHECK(now.lists_equal(0, usable));
  CHECK_FALSE(now.lists_equal(0, {}));
  CHECK(now.usable_iova == usable);
  CHECK(places(now) == std::vector<std::uint64_t>{0, 0x1000});

  all.front() = left(0x9000);
  CHECK_FALSE(now.lists_equal(1, usable));
  now.copy_lists(listed, 1, {});
  CHECK(places(now) == std::vector<std::uint64_t>{0x1000, 0x9000});
  CHECK(now.usable_iova.empty());
  CHECK(now.lists_complete);
}

TEST_CASE("lists that memory is too short for are marked, and copied whole later") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  std::vector<left_out_section> all{left(0)};
  const auto listed = [&all](left_out_copy& copy) {
    copy.clear();
    for (auto const& one : all) copy.emplace(one.what.where.first, one);
  };
  detail::published now;
  now.copy_lists(listed, 0, {});
  for (std::uint64_t i = 1; i < 40; ++i) all.push_back(left(i * 0x1000));
  tether_test::failing_allocation = 1;
  now.copy_lists(listed, 1, {});
  tether_test::failing_allocation = 0;
  CHECK_FALSE(now.lists_complete);
  CHECK_FALSE(now.lists_equal(1, {}));
  now.copy_lists(listed, 1, {});
  CHECK(now.lists_equal(1, {}));
  CHECK(now.left_out.size() == 40);
}

TEST_CASE("a publishing mutex publishes before it is unlocked, each time") {
  struct owner {
    unsigned published = 0;
    bool locked = false;
    void publish() noexcept {
      CHECK(locked);
      ++published;
    }
  };
  struct noted_mutex {
    static bool& locked() {
      static bool is = false;
      return is;
    }
    void lock() { locked() = true; }
    void unlock() { locked() = false; }
  };
  owner of;
  detail::publishing_mutex<noted_mutex, owner> mutex{of};
  for (unsigned i = 1; i <= 2; ++i) {
    {
      const std::lock_guard turn{mutex};
      of.locked = noted_mutex::locked();
      CHECK(of.published == i - 1);
    }
    CHECK(of.published == i);
    CHECK_FALSE(noted_mutex::locked());
  }
}

}  // namespace runtime_attach_detail_published
