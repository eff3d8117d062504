// SPDX-License-Identifier: BSL-1.0
// The lookup of the emulated IOMMUs against a std::map of the same intervals, at random addresses
// that are all mapped. Both sides run in one process, so their ratio is what to read.
#include <tether/backend/detail/iova_table.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <vector>

namespace {

constexpr std::uint64_t page = 4 * tether::KiB;

/// One page mapped, one page hole, and so on.
tether::mapping nth(std::uint64_t number) {
  const tether::io_address first{2 * page * number};
  return {{first, first + (page - 1)}, tether::host_address{page * number}};
}

std::vector<tether::io_address> addresses(std::uint64_t mappings) {
  std::mt19937_64 random{42};
  std::vector<tether::io_address> all(4096);
  for (auto& one : all) one = nth(random() % mappings).where.first + random() % page;
  return all;
}

void through_the_table(benchmark::State& state) {
  const auto mappings = static_cast<std::uint64_t>(state.range(0));
  tether::detail::iova_table<> table;
  for (std::uint64_t i = 0; i < mappings; ++i) {
    if (!table.insert(nth(i))) return state.SkipWithError("out of memory");
  }
  const auto wanted = addresses(mappings);
  std::size_t next = 0;
  for (auto turn : state) {
    benchmark::DoNotOptimize(table.find(wanted[next]));
    next = (next + 1) % wanted.size();
  }
}

void through_a_map(benchmark::State& state) {
  const auto mappings = static_cast<std::uint64_t>(state.range(0));
  std::map<std::uint64_t, tether::mapping> tree;
  for (std::uint64_t i = 0; i < mappings; ++i) tree.emplace(nth(i).where.last.value, nth(i));
  const auto wanted = addresses(mappings);
  std::size_t next = 0;
  for (auto turn : state) {
    const auto at = tree.lower_bound(wanted[next].value);
    benchmark::DoNotOptimize(at != tree.end() && at->second.where.contains(wanted[next]));
    next = (next + 1) % wanted.size();
  }
}

BENCHMARK(through_the_table)->Arg(10)->Arg(1'000)->Arg(100'000);
BENCHMARK(through_a_map)->Arg(10)->Arg(1'000)->Arg(100'000);

}  // namespace
