// SPDX-License-Identifier: BSL-1.0
// The library's version: the one place it is written down. CMakeLists.txt reads it from here. And
// the language's: every header that includes no other of tether includes this one, so that it is
// the first that a compiler reads.
#pragma once

#if __cplusplus < 202002L
// After an #error a compiler goes on, through thousands more. At a file that is not there it stops.
#include <tether[V1]: C++20 is needed; compile with -std=c++20, or set CMAKE_CXX_STANDARD to 20>
#endif

// With std::expected (`core/error.hpp`) whatever takes or returns an error is another function to
// the linker, so that parts of a program that disagree never call each other's.
#if defined(TETHER_STD_EXPECTED)
#define TETHER_ERROR_ABI [[gnu::abi_tag("std_expected")]]
#else
#define TETHER_ERROR_ABI
#endif

#define TETHER_VERSION_MAJOR 0
#define TETHER_VERSION_MINOR 2
#define TETHER_VERSION_PATCH 0
