// SPDX-License-Identifier: BSL-1.0
// What the pretended system calls were asked, so that two sides can be shown to have done the same.
#pragma once

#include <cstdint>

/// All calls since it was set to 0, in their order, as one number.
extern std::uint64_t codegen_asked;
/// How many.
extern std::uint64_t codegen_calls;
