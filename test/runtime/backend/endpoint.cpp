// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/endpoint.hpp>

#include <tether/backend/emulated/endpoint_group.hpp>

#include <doctest/doctest.h>

#include <type_traits>

namespace runtime_backend_endpoint {

using namespace tether;

static_assert(std::is_aggregate_v<endpoint> && std::is_nothrow_move_constructible_v<endpoint>);

TEST_CASE("a name is enough for an endpoint, and what it does not say is the careful answer") {
  CHECK(endpoint{"0000:01:00.0"}.pins == pin_class::pins);
  CHECK(endpoint{"vgpu", pin_class::pins_on_demand}.pins == pin_class::pins_on_demand);
}

TEST_CASE("an emulated device is a group of its own name, that pins as it does") {
  const auto found = detail::locate_alone({"vgpu", pin_class::pins_on_demand});
  REQUIRE(found);
  CHECK(found->device == "vgpu");
  CHECK(found->group.name() == "vgpu");
  CHECK(found->group.pins() == pin_class::pins_on_demand);
  CHECK(found->group.find("vgpu").has_value());
  CHECK(detail::locate_alone({}).error().is(errc::no_such_device));
}

}  // namespace runtime_backend_endpoint
