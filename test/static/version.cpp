// SPDX-License-Identifier: BSL-1.0
#include <tether/version.hpp>

// CMakeLists.txt reads these three as plain numbers, so they are plain numbers.
static_assert(TETHER_VERSION_MAJOR >= 0 && TETHER_VERSION_MINOR >= 0 && TETHER_VERSION_PATCH >= 0);
