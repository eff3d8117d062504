// SPDX-License-Identifier: BSL-1.0
#include <tether/core/label.hpp>

#include <string_view>
#include <type_traits>

namespace {

using tether::label;

constexpr std::string_view hundred =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123"
    "456789";

static_assert(label{}.view().empty());
static_assert(label{"ram"}.view() == "ram");
static_assert(label{"ram"}.c_str()[3] == '\0');
static_assert(label{hundred}.view() == "01234567890123456789012345678901234567890123...",
              "who reads it sees that it was cut");
static_assert(label{hundred.substr(0, 47)}.view() == hundred.substr(0, 47));
static_assert(label{hundred}.c_str()[47] == '\0');
static_assert(label{"a"} == label{"a"});
static_assert(!(label{"a"} == label{"b"}));
static_assert(std::is_trivially_copyable_v<label>, "so no copy of a name can fail");

}  // namespace
