// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/emulated/endpoint_group.hpp>

#include <doctest/doctest.h>

namespace runtime_backend_emulated_endpoint_group {

using namespace tether;

TEST_CASE("a group of endpoints pins unless every one of them pins on demand") {
  const endpoint pinning{"nic", pin_class::pins};
  const endpoint mediated{"vgpu", pin_class::pins_on_demand};
  CHECK(endpoint_group{"g", {pinning}}.pins() == pin_class::pins);
  CHECK(endpoint_group{"g", {mediated, pinning}}.pins() == pin_class::pins);
  CHECK(endpoint_group{"g", {mediated, mediated}}.pins() == pin_class::pins_on_demand);
  CHECK(endpoint_group{"g", {}}.pins() == pin_class::pins);
}

TEST_CASE("an endpoint that is not in its group is an error that names it") {
  const endpoint_group group{"g", {{"nic", pin_class::pins}}};
  REQUIRE(group.find("nic"));
  CHECK((*group.find("nic"))->name == "nic");
  const auto missing = group.find("disk");
  REQUIRE(!missing);
  CHECK(missing.error().is(errc::no_such_device));
  CHECK(missing.error().subject() == "disk");
}

}  // namespace runtime_backend_emulated_endpoint_group
