// SPDX-License-Identifier: BSL-1.0
// The laws of `fit_to_pages`, and of the concept `edges` for any model.
#pragma once

#include <tether/granule/edges.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace tether::laws {

/// What the fitting of one section must be, found the slow way: by asking every page whether it
/// lies inside.
inline void check_fitting(mapping const& raw, std::uint64_t page) {
  CAPTURE(raw.where.first.value);
  CAPTURE(raw.where.last.value);
  CAPTURE(raw.host.value);
  CAPTURE(page);
  const fitting found = fit_to_pages(raw, page);

  if (raw.where.first.value % page != raw.host.value % page) {
    CHECK(found.how == fitting::verdict::not_congruent);
    CHECK_FALSE(found.mappable());
    CHECK(found.inside == raw);
    return;
  }
  std::uint64_t pages_inside = 0;
  std::uint64_t first_inside = 0;
  for (std::uint64_t at = raw.where.first.value / page; at <= raw.where.last.value / page; ++at) {
    const extent<io_address> whole{io_address{at * page}, io_address{at * page + (page - 1)}};
    if (!raw.where.contains(whole)) continue;
    if (pages_inside++ == 0) first_inside = whole.first.value;
  }
  if (pages_inside == 0) {
    CHECK(found.how == fitting::verdict::nothing_left);
    CHECK_FALSE(found.mappable());
    CHECK(found.trimmed == raw.where.size());
    return;
  }
  CHECK(found.mappable());
  CHECK(found.inside.where.first.value == first_inside);
  CHECK(found.inside.where.size() == pages_inside * page);
  CHECK(found.inside.host == raw.host_at(found.inside.where.first));
  CHECK(found.inside.rights == raw.rights);
  CHECK(found.inside.memory == raw.memory);
  CHECK(found.trimmed == raw.where.size() - pages_inside * page);
  CHECK((found.how == fitting::verdict::fits) == (found.trimmed == 0));
}

/// The laws of a policy, at every verdict.
template <edges E>
void check_edges() {
  using enum fitting::verdict;
  CHECK(E::refuses(not_congruent, true));
  CHECK_FALSE(E::refuses(fits, true));
  for (const auto how : {fits, trimmed, nothing_left, not_congruent})
    CHECK_FALSE(E::refuses(how, false));
}

}  // namespace tether::laws
