// SPDX-License-Identifier: BSL-1.0
// The listener's map and unmap of one planned section, and the same by hand. check.py pairs
// `generic::map<X>` with `by_hand::map<X>` in an object file; count.cpp runs both.
#pragma once

#include <codegen/mapper_by_hand.hpp>
#include <codegen/product.hpp>

#include <tether/core/error.hpp>
#include <tether/inhibit/threading.hpp>
#include <tether/listen/detail/section_mapper.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/listen/progress.hpp>

#include <mutex>
#include <span>
#include <type_traits>

namespace codegen {

namespace generic {

/// What a `dma_listener` has between its lock and the backend.
template <class Policies>
struct path {
  using configuration = typename Policies::configuration;
  typename configuration::threading::mutex* mutex;
  tether::detail::section_mapper<typename Policies::backend, typename configuration::granularity,
                                 typename configuration::observation>
      mapper;
};

template <class Policies>
[[gnu::flatten]] tether::result<void> map(void* memory,
                                          tether::detail::section_plan const& plan) noexcept {
  auto& by = *static_cast<path<Policies>*>(memory);
  tether::unmonitored nobody;
  std::lock_guard turn{*by.mutex};
  return by.mapper.map(plan, nobody);
}
template <class Policies>
[[gnu::flatten]] tether::result<void> unmap(void* memory,
                                            tether::detail::section_plan const& plan) noexcept {
  auto& by = *static_cast<path<Policies>*>(memory);
  std::lock_guard turn{*by.mutex};
  return by.mapper.unmap(plan);
}

}  // namespace generic

namespace by_hand {

template <class Policies>
inline constexpr bool locks = std::is_same_v<typename Policies::threading, tether::multi_threaded>;

template <class Policies>
struct path {
  std::mutex* mutex;
  mapper_by_hand<Policies::backend::pins, typename Policies::granularity> mapper;
};

template <class Policies>
[[gnu::flatten]] tether::result<void> map(void* memory,
                                          tether::detail::section_plan const& plan) noexcept {
  auto& by = *static_cast<path<Policies>*>(memory);
  if constexpr (locks<Policies>) {
    std::lock_guard turn{*by.mutex};
    return by.mapper.map(plan);
  } else {
    return by.mapper.map(plan);
  }
}
template <class Policies>
[[gnu::flatten]] tether::result<void> unmap(void* memory,
                                            tether::detail::section_plan const& plan) noexcept {
  auto& by = *static_cast<path<Policies>*>(memory);
  if constexpr (locks<Policies>) {
    std::lock_guard turn{*by.mutex};
    return by.mapper.unmap(plan);
  } else {
    return by.mapper.unmap(plan);
  }
}

}  // namespace by_hand

/// One side of a configuration, with its types forgotten. `path` is its `path<...>`.
struct map_functions {
  tether::result<void> (*map)(void* path, tether::detail::section_plan const&) noexcept;
  tether::result<void> (*unmap)(void* path, tether::detail::section_plan const&) noexcept;
};
struct map_pair {
  char const* name;
  map_functions generic;
  map_functions by_hand;
};

template <class Policies>
constexpr map_pair pair_of() {
  static_assert(sizeof(generic::path<Policies>) == sizeof(by_hand::path<Policies>));
  return {__PRETTY_FUNCTION__,
          {&generic::map<Policies>, &generic::unmap<Policies>},
          {&by_hand::map<Policies>, &by_hand::unmap<Policies>}};
}

/// All of map_path.cpp.
extern const std::span<map_pair const> map_pairs;

}  // namespace codegen
