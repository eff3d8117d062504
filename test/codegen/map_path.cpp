// SPDX-License-Identifier: BSL-1.0
// The listener's map and unmap of one planned section, for every configuration, beside the same by hand.
// check.py pairs `generic::map<X>` with `by_hand::map<X>` in the object file.
#include <codegen/map_path.hpp>
#include <codegen/mapper_by_hand.hpp>
#include <codegen/product.hpp>

#include <tether/listen/attendant.hpp>
#include <tether/listen/section_mapper.hpp>

#include <boost/hana/unpack.hpp>

#include <array>
#include <mutex>
#include <new>
#include <type_traits>

namespace codegen {

namespace generic {

/// What a `dma_listener` has between its lock and the backend.
template <class Policies>
struct path {
  using configuration = configuration_of<Policies>;
  typename configuration::threading::mutex* mutex;
  tether::section_mapper<typename Policies::backend, typename configuration::granularity, typename configuration::observation> mapper;
};

template <class Policies>
[[gnu::flatten]] tether::result<void> map(void* memory, tether::section_plan const& plan) noexcept {
  auto& by = *static_cast<path<Policies>*>(memory);
  tether::unattended nobody;
  std::lock_guard turn{*by.mutex};
  return by.mapper.map(plan, nobody);
}
template <class Policies>
[[gnu::flatten]] tether::result<void> unmap(void* memory, tether::section_plan const& plan) noexcept {
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
[[gnu::flatten]] tether::result<void> map(void* memory, tether::section_plan const& plan) noexcept {
  auto& by = *static_cast<path<Policies>*>(memory);
  if constexpr (locks<Policies>) {
    std::lock_guard turn{*by.mutex};
    return by.mapper.map(plan);
  } else {
    return by.mapper.map(plan);
  }
}
template <class Policies>
[[gnu::flatten]] tether::result<void> unmap(void* memory, tether::section_plan const& plan) noexcept {
  auto& by = *static_cast<path<Policies>*>(memory);
  if constexpr (locks<Policies>) {
    std::lock_guard turn{*by.mutex};
    return by.mapper.unmap(plan);
  } else {
    return by.mapper.unmap(plan);
  }
}

}  // namespace by_hand

template <class Policies>
constexpr map_path pair_of() {
  static_assert(sizeof(generic::path<Policies>) == sizeof(by_hand::path<Policies>));
  return {{&generic::map<Policies>, &generic::unmap<Policies>}, {&by_hand::map<Policies>, &by_hand::unmap<Policies>}};
}

// Having its address taken here, each function is generated.
namespace {
constexpr auto all = hana::unpack(product, [](auto... of) { return std::array{pair_of<typename decltype(of)::type>()...}; });
}
constinit const std::span<map_path const> map_paths{all};

}  // namespace codegen
