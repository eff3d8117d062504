// SPDX-License-Identifier: BSL-1.0
// Addresses, extents, sections, errors and reports in std::format, where the standard library has
// it (__cpp_lib_format: libstdc++ 13, libc++ 17), and nothing where it has not. Opt-in, because of
// what <format> costs. They print as `text_of` says, and take what a string takes: `{:>40}`.
#pragma once

#include <tether/text.hpp>

#include <version>
#if defined(__cpp_lib_format)
#include <format>
#include <string_view>

/// Every value of tether's that has a text.
template <tether::has_text Value>
struct std::formatter<Value, char> : std::formatter<std::string_view, char> {
  template <class Context>
  auto format(Value const& value, Context& context) const {
    return std::formatter<std::string_view, char>::format(tether::text_of(value), context);
  }
};
#endif
