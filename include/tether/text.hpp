// SPDX-License-Identifier: BSL-1.0
// Values as text: the same text as in streams and in error sentences. Opt-in, because it costs
// compile time that only programs which print need. `tether/format.hpp` (std::format) and
// `tether/fmt.hpp` ({fmt}) print it, too.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/discard/report.hpp>
#include <tether/topology/section.hpp>

#include <string>
#include <string_view>

namespace tether {
namespace detail {

/// Takes the place of a stream. `Char` and `Traits` are those of one, so that what writes to
/// streams writes here.
template <class Char, class Traits>
struct basic_text {
  std::basic_string<Char, Traits> text{};

  friend basic_text& operator<<(basic_text& to, std::basic_string_view<Char, Traits> more) {
    to.text += more;
    return to;
  }
};

template <class T>
inline constexpr bool is_told = false;
template <space Space>
inline constexpr bool is_told<address<Space>> = true;
template <class Address>
inline constexpr bool is_told<extent<Address>> = true;
template <>
inline constexpr bool is_told<section> = true;
template <>
inline constexpr bool is_told<error> = true;
template <>
inline constexpr bool is_told<discard_report> = true;

}  // namespace detail

/// What is formatted as its text: addresses, extents, sections, errors and discard reports.
template <class T>
concept has_text = detail::is_told<T>;

/// What a stream would be given. Fails: may throw `std::bad_alloc`.
template <has_text Value>
[[nodiscard]] std::string text_of(Value const& value) {
  detail::basic_text<char, std::char_traits<char>> to;
  to << value;
  return to.text;
}

}  // namespace tether
