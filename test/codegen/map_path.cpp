// SPDX-License-Identifier: BSL-1.0
// The map path of every configuration. Having its address taken here, each function is generated.
#include <codegen/map_path.hpp>

#include <array>

namespace codegen {

namespace {
constexpr auto all = hana::unpack(
    product, [](auto... of) { return std::array{pair_of<typename decltype(of)::type>()...}; });
}  // namespace
constinit const std::span<map_pair const> map_pairs{all};

}  // namespace codegen
