// SPDX-License-Identifier: BSL-1.0
// Every valid configuration: the cartesian product of the policies, less what tether refuses. None
// is written by hand.
#pragma once

#include "sizes.hpp"

#include <tether/attach/configuration.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/policies.hpp>

#include <boost/hana/cartesian_product.hpp>
#include <boost/hana/filter.hpp>
#include <boost/hana/integral_constant.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>
#include <boost/hana/unpack.hpp>

#include <cstdint>
#include <string>
#include <type_traits>

namespace demo {

namespace hana = boost::hana;

inline constexpr auto backends = hana::tuple_t<tether::io_uring_buffers, tether::software_iommu>;
inline constexpr auto inhibitions =
    hana::tuple_t<tether::inhibit_per_container, tether::inhibit_per_group,
                  tether::inhibit_per_device, tether::no_inhibition>;
inline constexpr auto granularities =
    hana::tuple_t<tether::whole_section, tether::largest_page,
                  tether::fixed_block<64 * tether::KiB>, tether::fixed_block<2 * tether::MiB>>;

/// A tuple of (backend, inhibition, granularity) types.
inline constexpr auto every_valid_configuration = hana::filter(
    hana::cartesian_product(hana::make_tuple(backends, inhibitions, granularities)),
    [](auto candidate) {
      return hana::unpack(candidate, [](auto... one) {
        return hana::bool_c<tether::valid_configuration<typename decltype(one)::type...>>;
      });
    });

/// Names, as a user writes them.
template <class Policy>
inline const std::string name_of_policy = "?";
template <>
inline const std::string name_of_policy<tether::io_uring_buffers> = "io_uring_buffers";
template <>
inline const std::string name_of_policy<tether::software_iommu> = "software_iommu";
template <>
inline const std::string name_of_policy<tether::inhibit_per_container> = "inhibit_per_container";
template <>
inline const std::string name_of_policy<tether::inhibit_per_group> = "inhibit_per_group";
template <>
inline const std::string name_of_policy<tether::inhibit_per_device> = "inhibit_per_device";
template <>
inline const std::string name_of_policy<tether::no_inhibition> = "no_inhibition";
template <>
inline const std::string name_of_policy<tether::whole_section> = "whole_section";
template <>
inline const std::string name_of_policy<tether::largest_page> = "largest_page";
template <std::uint64_t Size>
inline const std::string name_of_policy<tether::fixed_block<Size>> =
    "fixed_block<" + in_words(Size) + ">";

/// A user's own backend.
template <class Backend>
[[nodiscard]] tether::result<Backend> make_backend() {
  if constexpr (requires { Backend::open(); }) return Backend::open();
  else return Backend{};
}

/// How many mappings a guest of `bytes` at guest address 0 takes, computed from what the policy
/// promises and not by the policy. `host` is where its memory lies.
template <class Granularity>
[[nodiscard]] std::uint64_t mappings_promised(std::uint64_t bytes, tether::host_address host,
                                              tether::page_sizes pages) {
  if constexpr (tether::maps_in_blocks<Granularity>)
    return (bytes + Granularity::block_size - 1) / Granularity::block_size;
  else if constexpr (std::is_same_v<Granularity, tether::whole_section>) return 1;
  else {
    std::uint64_t count = 0;
    for (std::uint64_t at = 0; at < bytes; ++count) {
      std::uint64_t page = pages.largest();
      while (!pages.has(page) || at % page != 0 || (host.value + at) % page != 0 ||
             at + page > bytes)
        page /= 2;
      at += page;
    }
    return count;
  }
}

/// The units that a guest of `bytes` is divided into where it is mapped in blocks, so that its
/// memory can go while a device is attached: 2 MiB, or less where that does not divide it. 0: it is
/// not divided.
template <class Granularity>
[[nodiscard]] constexpr std::uint64_t unit_for(std::uint64_t bytes) noexcept {
  if constexpr (!tether::maps_in_blocks<Granularity>) return 0;
  std::uint64_t unit = 2 * tether::MiB;
  while (bytes % unit != 0) unit /= 2;
  return unit >= Granularity::block_size ? unit : 0;
}

}  // namespace demo
