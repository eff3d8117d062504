// SPDX-License-Identifier: BSL-1.0
// The judge itself: it must refuse what is square, however small a part of the whole, and accept
// what is not. On costs made up here, then on code that is square on purpose.
#include <growth/growth.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <vector>

namespace growth_judge {

using namespace tether_test::growth;

namespace {

template <class Cost>
bool accepts(promise how, Cost cost, std::uint64_t n = 256) {
  return as_promised(how, n, {cost(n), cost(2 * n), cost(4 * n)});
}

/// What `row::run` of some code would have been judged as, by steps or by bytes.
template <class Run>
bool accepts_run(promise how, Run run, std::uint64_t costs::* what = &costs::steps) {
  return accepts(how, [&](std::uint64_t n) {
    meter all;
    run(n, all);
    REQUIRE(all.all().steps != 0);
    return all.all().*what;
  });
}

}  // namespace

TEST_CASE(
    "a square is refused though it is a thousandth of what each costs, and a logarithm is not") {
  CHECK(accepts(promise::each, [](std::uint64_t) { return std::uint64_t{77}; }));
  CHECK(accepts(promise::each, [](std::uint64_t n) { return 100'000 + 3 * n; }));
  CHECK(accepts(promise::each, [](std::uint64_t n) { return n * std::bit_width(n); }));
  CHECK(accepts(promise::each, [](std::uint64_t n) { return n * std::bit_width(n) * 50; }));
  CHECK_FALSE(accepts(promise::each, [](std::uint64_t n) { return n * n / 2; }));
  CHECK_FALSE(accepts(promise::each, [](std::uint64_t n) { return 1000 * n + n * n; }));
  CHECK_FALSE(accepts(promise::each, [](std::uint64_t n) { return 100'000 + 1000 * n + n * n; }));
  CHECK(accepts(promise::same, [](std::uint64_t n) { return 30 * std::bit_width(n); }));
  CHECK_FALSE(accepts(promise::same, [](std::uint64_t n) { return 100 + n; }));
  CHECK(accepts(promise::square, [](std::uint64_t n) { return 9 * n * n; }));
  CHECK_FALSE(accepts(promise::square, [](std::uint64_t n) { return 9 * n; }));
  CHECK_FALSE(accepts(promise::square, [](std::uint64_t n) { return n * n * n; }));
}

TEST_CASE("code that is square on purpose is seen: loops without a call, look-ups, what is moved") {
  const auto pairs = [](std::uint64_t n, meter& all) {
    std::uint64_t volatile sum = 0;
    all.count([&] {
      for (std::uint64_t i = 0; i != n; ++i)
        for (std::uint64_t j = 0; j != i; ++j) sum = sum + j;
    });
  };
  CHECK_FALSE(accepts_run(promise::each, pairs));
  CHECK(accepts_run(promise::square, pairs));
  const auto one_by_one = [](std::uint64_t n, meter& all) {
    std::vector<std::uint64_t> known;
    all.count([&] {
      for (std::uint64_t i = 0; i != n; ++i)
        if (std::find(known.begin(), known.end(), i) == known.end()) known.push_back(i);
    });
  };
  CHECK_FALSE(accepts_run(promise::each, one_by_one));
  const auto at_the_front = [](std::uint64_t n, meter& all) {
    std::vector<std::uint64_t> known;
    all.count([&] {
      for (std::uint64_t i = 0; i != n; ++i) known.insert(known.begin(), i);
    });
  };
  CHECK_FALSE(accepts_run(promise::each, at_the_front, &costs::bytes));
  const auto reserved_each_time = [](std::uint64_t n, meter& all) {
    std::vector<std::uint64_t> known;
    all.count([&] {
      for (std::uint64_t i = 0; i != n; ++i) {
        known.reserve(known.size() + 1);
        known.push_back(i);
      }
    });
  };
  CHECK_FALSE(accepts_run(promise::each, reserved_each_time, &costs::bytes));
  const auto in_a_tree = [](std::uint64_t n, meter& all) {
    std::map<std::uint64_t, std::uint64_t> known;
    all.count([&] {
      for (std::uint64_t i = 0; i != n; ++i) known.emplace(i, i);
    });
  };
  CHECK(accepts_run(promise::each, in_a_tree));
  CHECK(accepts_run(promise::each, in_a_tree, &costs::bytes));
}

}  // namespace growth_judge
