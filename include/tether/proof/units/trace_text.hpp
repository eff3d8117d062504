// SPDX-License-Identifier: BSL-1.0
// A counterexample of the units' model as a sentence.
#pragma once

#include <tether/proof/model/event.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/search/trace_text.hpp>
#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/event.hpp>
#include <tether/proof/units/property.hpp>

#include <cstddef>
#include <string_view>

namespace tether::proof {

/// Writes one event.
constexpr sentence& describe(sentence& all, unit_event const& one) noexcept {
  all << (one.by_source ? "source " : "container ") << std::size_t{one.who} << ": "
      << (one.by_source ? name_of(one.source_does) : name_of(one.container_does)) << ": ";
  const bool tells = one.what == unit_call::map || one.what == unit_call::unmap ||
                     one.what == unit_call::map_again || one.what == unit_call::unmap_again ||
                     one.what == unit_call::refuse;
  if (tells) all << "container " << std::size_t{one.told} << " ";
  all << name_of(one.what);
  if (one.how != unit_outcome::done && one.what != unit_call::refuse)
    all << ", " << name_of(one.how);
  return all;
}

/// What is broken, and the events that lead there.
[[nodiscard]] constexpr sentence describe_trace(broken_properties broken,
                                                basic_trace<unit_event> const& way) noexcept {
  sentence all{};
  if (broken == 0) return all;
  std::uint8_t first = 0;
  while ((broken >> first & 1U) == 0) ++first;
  all << name_of(static_cast<unit_property>(first));
  std::string_view between = " after: ";
  for (unit_event const& one : way) {
    describe(all << between, one);
    between = "; ";
  }
  return all;
}

/// What a search has not reached.
[[nodiscard]] constexpr sentence describe_trace(unit_coverage const& missing) noexcept {
  sentence all{};
  std::string_view between;
  const auto say = [&](std::string_view what, unit_outcome how) {
    all << between << what << " " << name_of(how);
    between = "; ";
  };
  for (const unit_outcome how : {unit_outcome::done, unit_outcome::failed, unit_outcome::stuck}) {
    for (std::size_t what = 0; what < unit_calls; ++what) {
      const auto call = static_cast<unit_call>(what);
      if (missing.has(call, how)) say(name_of(call), how);
    }
    for (const source_task what :
         {source_task::discard, source_task::populate, source_task::fence}) {
      if (missing.has(what, how)) say(name_of(what), how);
    }
    for (const follower_task what : {follower_task::attach, follower_task::detach,
                                     follower_task::abandon, follower_task::work}) {
      if (missing.has(what, how)) say(name_of(what), how);
    }
  }
  return all;
}

}  // namespace tether::proof
