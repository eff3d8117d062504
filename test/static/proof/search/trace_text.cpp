// SPDX-License-Identifier: BSL-1.0
// How events read.
#include <tether/proof/search/trace_text.hpp>

namespace tether::proof {
namespace {

constexpr bool reads(event const& one, std::string_view text, bool several = false) {
  sentence all{};
  return describe(all, one, several).view() == text;
}
static_assert(reads({.who = actor::permit}, "balloon gets permit"));
static_assert(reads({.who = actor::discard}, "balloon discards") &&
              reads({.who = actor::guest}, "guest touches"));
static_assert(reads({.who = actor::caller,
                     .group = 1,
                     .begins = change::attach,
                     .mediated = true,
                     .what = act::raise_holds},
                    "attach mediated group 1: take hold"));
static_assert(reads({.who = actor::caller,
                     .container = 1,
                     .begins = change::attach_device,
                     .agrees = consent::given,
                     .what = act::open},
                    "container 1: attach agreeing device of IOMMU-backed group 0: open device",
                    true));
static_assert(reads({.who = actor::caller, .begins = change::open, .agrees = consent::none},
                    "open device of group 0: refused"));
static_assert(reads(
    {.who = actor::caller, .begins = change::detach, .what = act::withdraw, .how = outcome::stuck},
    "detach group 0: unmap gets stuck"));
static_assert(
    reads({.who = actor::container, .what = act::leave, .how = outcome::failed, .undoing = true},
          "group 0: undo: leave container fails"));
static_assert(reads({.who = actor::container, .what = act::replay, .half_way = true},
                    "group 0: map half of it"));
static_assert(reads({.who = actor::abandoner}, "abandon"));

constexpr trace two = [] {
  trace all{};
  all.push({.who = actor::discard});
  all.push({.who = actor::guest});
  return all;
}();
static_assert(describe_trace(bit(property::stale_mapping), two).view() ==
              "stale mapping after: balloon discards; guest touches");
static_assert(describe_trace(bit(property::unbalanced_holds), {}).view() ==
              "holds unbalanced before anything has happened");
static_assert(describe_trace(0, two).view().empty());

constexpr coverage missing = [] {
  coverage all{};
  all.add(act::join, outcome::stuck);
  all.add(operation::detach_last, ending::rolled_back);
  return all;
}();
static_assert(describe_trace(missing).view() ==
              "join container gets stuck; last detach rolled back");
static_assert((sentence{} << std::size_t{1024}).view() == "1024");
static_assert(fixed_string{"ab"}.view() == "ab" &&
              fixed_string<3>{sentence{} << "abcd"}.view() == "abc");

}  // namespace
}  // namespace tether::proof
