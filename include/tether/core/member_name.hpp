// SPDX-License-Identifier: BSL-1.0
// Whether a type has a member of some name at all, whatever it is and whoever may see it. A policy's members are found by being
// callable; one that is there and cannot be called as it must be would be passed over in silence.
//
//     struct admits_name {
//       int admits;
//       template <class T>
//       static constexpr bool finds = requires { &T::admits; };
//     };
//     has_member<P, admits_name>
#pragma once

#include <type_traits>

namespace tether::detail {

/// Has the members of both: a name that both have is ambiguous here, before anybody asks what it is or whether it is private.
template <class T, class Name>
struct beside : T, Name {};

/// Whether `T` has a member called as the one that `Name` has, or as one of those. Of a final class, which nobody can stand beside,
/// only what is public and not overloaded is seen, and of several names only all of them together.
template <class T, class Name>
inline constexpr bool has_member = false;
template <class T, class Name>
  requires(std::is_class_v<T> && requires { sizeof(T); })
inline constexpr bool has_member<T, Name> = [] {
  if constexpr (std::is_final_v<T>) return Name::template finds<T>;
  else return !Name::template finds<beside<T, Name>>;
}();

}  // namespace tether::detail
