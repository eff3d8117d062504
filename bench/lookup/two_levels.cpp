// SPDX-License-Identifier: BSL-1.0
// A direct table in two levels, in the manner of SPDK's memory map: an entry for each GiB leads to
// a table with an entry for each 2 MiB. It can hold nothing finer, and needs no search at all.
#include <lookup/lookup.hpp>

#include <tether/core/address.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace {

struct two_levels {
  static constexpr std::uint64_t entries = tether::GiB / lookup::page;
  using table = std::array<std::uint64_t, entries>;
  std::vector<std::unique_ptr<table>> tables{};

  explicit two_levels(std::vector<lookup::interval> const& all)
      : tables(all.back().last / tether::GiB + 1) {
    for (auto const& one : all) {
      auto& second = tables[one.first / tether::GiB];
      if (second == nullptr) second = std::make_unique<table>();
      (*second)[one.first / lookup::page % entries] = one.host;
    }
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    const std::uint64_t gib = at / tether::GiB;
    if (gib >= tables.size() || tables[gib] == nullptr) return 0;
    const std::uint64_t host = (*tables[gib])[at / lookup::page % entries];
    return host == 0 ? 0 : host + at % lookup::page;
  }
};

const bench::side<lookup::subject> entered{"two-level table (SPDK)", lookup::looks_up<two_levels>};

}  // namespace
