// SPDX-License-Identifier: BSL-1.0
// Boost's interval_map, which does not join neighbours here: between any two is a hole.
#include <lookup/lookup.hpp>

#include <boost/icl/interval_map.hpp>

#include <cstdint>
#include <utility>
#include <vector>

namespace {

struct icl {
  using between = boost::icl::interval<std::uint64_t>;
  boost::icl::interval_map<std::uint64_t, std::uint64_t> hosts{};

  explicit icl(std::vector<lookup::interval> const& all) {
    for (auto const& one : all)
      hosts.add(hosts.end(), std::pair{between::right_open(one.first, one.last + 1), one.host});
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    const auto found = hosts.find(at);
    return found == hosts.end() ? 0 : found->second + (at - found->first.lower());
  }
};

const bench::side<lookup::subject> entered{"boost::icl", lookup::looks_up<icl>};

}  // namespace
