// SPDX-License-Identifier: BSL-1.0
// The library's version: the one place it is written down. CMakeLists.txt reads it from here.
#pragma once

#define TETHER_VERSION_MAJOR 0
#define TETHER_VERSION_MINOR 1
#define TETHER_VERSION_PATCH 0
