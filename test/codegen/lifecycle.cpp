// SPDX-License-Identifier: BSL-1.0
// The lifecycle of every configuration. Having its address taken here, each function is generated.
#include <codegen/lifecycle.hpp>
#include <codegen/product.hpp>

#include <tether/attach/container.hpp>

namespace codegen {

extern constinit const auto lifecycles =
    hana::unpack(lifecycle_product, [](auto... of) { return hana::make_tuple(addresses_of<typename decltype(of)::type>()...); });

}  // namespace codegen
