// SPDX-License-Identifier: BSL-1.0
// Addresses, extents, sections, errors and reports in {fmt} 9 or later (Debian: libfmt-dev), which
// is no dependency of tether's: opt-in. They print as `text_of` says, and take what a string takes:
// `{:>40}`.
#pragma once

#include <tether/text.hpp>

#include <fmt/format.h>

#include <string_view>

/// Every value of tether's that has a text.
template <tether::has_text Value>
struct fmt::formatter<Value, char> : fmt::formatter<std::string_view, char> {
  template <class Context>
  auto format(Value const& value, Context& context) const {
    return fmt::formatter<std::string_view, char>::format(tether::text_of(value), context);
  }
};
