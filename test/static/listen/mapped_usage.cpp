// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/mapped_usage.hpp>

using namespace tether;

static_assert(mapped_usage{} == mapped_usage{0, 0});
static_assert(mapped_usage{1, 4096} != mapped_usage{1, 8192} &&
              mapped_usage{1, 4096} != mapped_usage{2, 4096});
