// SPDX-License-Identifier: BSL-1.0
// The functions of map_path.cpp by address, so that callgrind can run each of them.
#pragma once

#include <tether/core/error.hpp>
#include <tether/listen/section_plan.hpp>

#include <span>

namespace codegen {

/// One side of a configuration. `path` is its `path<...>`.
struct map_functions {
  tether::result<void> (*map)(void* path, tether::section_plan const&) noexcept;
  tether::result<void> (*unmap)(void* path, tether::section_plan const&) noexcept;
};
struct map_path {
  map_functions generic;
  map_functions by_hand;
};

extern const std::span<map_path const> map_paths;

}  // namespace codegen
