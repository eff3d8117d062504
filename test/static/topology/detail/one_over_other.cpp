// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/one_over_other.hpp>

#include <string_view>

namespace tether::detail {
namespace {

constexpr std::string_view longer = "a-name-that-has-more-than-twenty-characters";
static_assert(one_over_other("dimm", "ram").view() == "dimm over ram");
static_assert(one_over_other("", "").view() == " over ");
// Whoever is short leaves its room to the other.
static_assert(one_over_other("dimm", "thirty-seven-characters-and-no-more-1").view() ==
              "dimm over thirty-seven-characters-and-no-more-1");
static_assert(one_over_other("thirty-seven-characters-and-no-more-1", "ramm").view() ==
              "thirty-seven-characters-and-no-more-1 over ramm");
// Both are cut.
static_assert(one_over_other(longer, longer).view() ==
              "a-name-that-has-more over a-name-that-has-more-");

}  // namespace
}  // namespace tether::detail
