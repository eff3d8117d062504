// SPDX-License-Identifier: BSL-1.0
// The product of which every element is checked: backend shape x inhibition x granularity x
// threading. Nobody writes a configuration down; Hana multiplies the lists.
#pragma once

#include <codegen/fake_iommu.hpp>

#include <tether/attach/configuration.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/inhibit/threading.hpp>

#include <boost/hana/cartesian_product.hpp>
#include <boost/hana/filter.hpp>
#include <boost/hana/size.hpp>
#include <boost/hana/transform.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>
#include <boost/hana/unpack.hpp>

namespace tether {
template <class Backend, class... Policies>
class container;
}

namespace codegen {

namespace hana = boost::hana;

/// A configuration's parts by name. `More` is for what must be refused.
template <class Backend, class Inhibition, class Granularity, class Threading, class... More>
struct policy_list {
  using backend = Backend;
  using inhibition = Inhibition;
  using granularity = Granularity;
  using threading = Threading;
  using configuration = tether::configuration<Backend, Inhibition, Granularity, Threading, More...>;
  using container = tether::container<Backend, Inhibition, Granularity, Threading, More...>;
};

inline constexpr auto backends = hana::tuple_t<fake_iommu<true>, fake_iommu<false>>;
inline constexpr auto inhibitions =
    hana::tuple_t<tether::inhibit_per_container, tether::inhibit_per_group,
                  tether::inhibit_per_device, tether::no_inhibition>;
inline constexpr auto granularities =
    hana::tuple_t<tether::whole_section, tether::largest_page,
                  tether::fixed_block<64 * tether::KiB>, tether::fixed_block<2 * tether::MiB>>;
inline constexpr auto threadings = hana::tuple_t<tether::single_threaded, tether::multi_threaded>;

inline constexpr auto is_valid = [](auto row) {
  return hana::unpack(row, [](auto... of) {
    return hana::bool_c<tether::valid_configuration<typename decltype(of)::type...>>;
  });
};
inline constexpr auto as_policies = [](auto row) {
  return hana::unpack(
      row, [](auto... of) { return hana::type_c<policy_list<typename decltype(of)::type...>>; });
};
inline constexpr auto multiply = [](auto... lists) {
  return hana::transform(
      hana::filter(hana::cartesian_product(hana::make_tuple(lists...)), is_valid), as_policies);
};

/// Every configuration that tether accepts, as `hana::type<policy_list<...>>`.
inline constexpr auto product = multiply(backends, inhibitions, granularities, threadings);
// Only a pinning backend with no_inhibition is refused.
static_assert(decltype(hana::size(product))::value == 2 * 4 * 4 * 2 - 4 * 2);

/// Of a granularity, attaching and detaching see only the kind of hold: one of each kind will do.
inline constexpr auto lifecycle_product = multiply(
    backends, inhibitions,
    hana::tuple_t<tether::whole_section, tether::fixed_block<64 * tether::KiB>>, threadings);

}  // namespace codegen
