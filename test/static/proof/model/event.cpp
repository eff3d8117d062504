// SPDX-License-Identifier: BSL-1.0
// A trace keeps events in their order, and no more than it has room for.
#include <tether/proof/model/event.hpp>

namespace tether::proof {
namespace {

constexpr trace told = [] {
  trace all{};
  all.push({.who = actor::discard});
  for (std::size_t i = 0; i < 2 * trace::most; ++i) all.push({.who = actor::guest});
  return all;
}();
static_assert(told.length == trace::most && told.begin()->who == actor::discard &&
              told.end()[-1].who == actor::guest);
static_assert(trace{}.length == 0);

}  // namespace
}  // namespace tether::proof
