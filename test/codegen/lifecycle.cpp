// SPDX-License-Identifier: BSL-1.0
// The lifecycle of every configuration. Having its address taken here, each function is generated.
#include <codegen/lifecycle.hpp>
#include <codegen/product.hpp>

#include <tether/attach/container.hpp>

namespace codegen {

// What a backend that pins nothing is asked to inhibit costs it no byte.
constexpr auto costs_nothing = [](auto inhibition) {
  using asked = typename decltype(inhibition)::type;
  using backend = fake_iommu<false>;
  return sizeof(tether::container<backend, asked>) ==
         sizeof(tether::container<backend, tether::no_inhibition>);
};
static_assert(hana::unpack(inhibitions,
                           [](auto... inhibition) { return (... && costs_nothing(inhibition)); }));

extern constinit const auto lifecycles = hana::unpack(lifecycle_product, [](auto... of) {
  return hana::make_tuple(addresses_of<typename decltype(of)::type>()...);
});

}  // namespace codegen
