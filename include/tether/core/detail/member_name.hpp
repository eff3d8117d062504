// SPDX-License-Identifier: BSL-1.0
// Detects whether a type has a member of a given name, whatever its kind and access. A policy's
// members are detected by being callable; one that is not callable as required would be ignored.
//
//     struct admits_name {
//       int admits;
//       template <class T>
//       static constexpr bool finds = requires { &T::admits; };
//     };
//     has_member<P, admits_name>
#pragma once

#include <tether/version.hpp>

#include <type_traits>

namespace tether::detail {

/// A class with the members of both: a name that both have is ambiguous, whatever its kind or
/// access.
template <class T, class Name>
struct beside : T, Name {};

/// Whether `T` has a member with the name of `Name`'s member (with any of them, if there are
/// several). A final class cannot be a base: only its public, not overloaded members are found, and
/// of several names only all of them together.
template <class T, class Name>
inline constexpr bool has_member = false;
template <class T, class Name>
  requires(std::is_class_v<T> && requires { sizeof(T); })
inline constexpr bool has_member<T, Name> = [] {
  if constexpr (std::is_final_v<T>) return Name::template finds<T>;
  else return !Name::template finds<beside<T, Name>>;
}();

}  // namespace tether::detail
