// SPDX-License-Identifier: BSL-1.0
// The backend of an example, held to the laws as a user's own would be: those of a backend, and the
// central one, that a device sees what the CPU sees whatever fails meanwhile.
#include "../../examples/toy_iommu.hpp"

#include <laws/backend.hpp>
#include <laws/hostile_balloon.hpp>

#include <support/amount.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <string>

namespace laws_toy_iommu {

using namespace tether;

namespace {

/// What the laws of a backend ask for: a small one.
struct rig {
  using backend_type = toy_iommu;
  static result<backend_type> make(laws::limits const& small) {
    return toy_iommu{tether_test::host_page(), small.usable, small.budget};
  }
};

/// What the hostile balloon asks for: three groups of two devices.
struct model {
  using backend_type = toy_iommu;
  static result<backend_type> make() { return rig::make({.budget = 4096}); }
  static endpoint_group group(std::size_t n) {
    const auto pins = n == 1 ? pin_class::pins_on_demand : pin_class::pins;
    return {std::to_string(n), {{device(n, 0), pins}, {device(n, 1), pins}}};
  }
  static const char* device(std::size_t n, std::size_t m) { return names[n][m]; }
  static constexpr std::array<std::array<const char*, 2>, 3> names{
      {{"nic", "disk"}, {"vgpu", "vdsa"}, {"gpu", "sound"}}};
};

}  // namespace

TEST_CASE("a backend of one's own keeps the laws of a backend") { laws::check_backend<rig>(); }

TEST_CASE("a device of a backend of one's own sees what the CPU sees") {
  laws::print_figures("toy_iommu",
                      laws::check_hostile_balloon<model, inhibit_per_group, fixed_block<4 * KiB>>(
                          tether_test::amount(1'000)));
}

}  // namespace laws_toy_iommu
