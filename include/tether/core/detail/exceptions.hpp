// SPDX-License-Identifier: BSL-1.0
// `try`, `catch` and `throw;` for programs with and without exceptions. Standard containers and
// strings tell of a failed allocation by throwing, and tether makes an `error` of it:
//
//     TETHER_TRY { rows_.reserve(count); }
//     TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("attach")); }
//
// Compiled with -fno-exceptions, the first block runs and the others are gone: such an allocation
// then ends the program, as it does in any program of that kind. Of what the kernel allocates
// (memory, pins, mappings) a failure stays an `error`, and so it is of a RAM block, which is
// allocated by `new (std::nothrow)`. tl::expected 1.0 cannot assign what only moves without
// exceptions (its `assign_common(rhs)` copies), so no header assigns such a `result`.
#pragma once

#include <tether/version.hpp>

#include <cstddef>
#include <exception>

#if defined(__cpp_exceptions)
#define TETHER_TRY try
#define TETHER_CATCH(what) catch (what)
#define TETHER_RETHROW throw
#else
#define TETHER_TRY if constexpr (true)
#define TETHER_CATCH(what) else if constexpr (false)
#define TETHER_RETHROW static_cast<void>(0)
#endif

namespace tether::detail {

/// Whether a failed allocation of a standard container is seen, and becomes an `error`.
#if defined(__cpp_exceptions)
inline constexpr bool sees_failed_allocations = true;
#else
inline constexpr bool sees_failed_allocations = false;
#endif

/// Room for so many more, in memory that doubles. Fails, changing nothing, where memory is too
/// short.
template <class List>
[[nodiscard]] bool make_room(List& list, std::size_t more = 1) noexcept {
  TETHER_TRY {
    const std::size_t wanted = list.size() + more;
    const std::size_t doubled = 2 * list.size() + 1;
    if (list.capacity() < wanted) list.reserve(wanted > doubled ? wanted : doubled);
    return true;
  }
  TETHER_CATCH(std::exception const&) { return false; }
}

}  // namespace tether::detail
