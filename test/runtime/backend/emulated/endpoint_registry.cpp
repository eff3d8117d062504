// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/emulated/endpoint_registry.hpp>

#include <doctest/doctest.h>

#include <utility>

namespace runtime_backend_emulated_endpoint_registry {

using namespace tether;
using namespace tether::detail;

namespace {
endpoint_group one(std::string name, pin_class pins) {
  return {std::move(name), {{"device", pins}}};
}
}  // namespace

TEST_CASE("the registry counts the groups that pin for good") {
  endpoint_registry groups;
  auto first = groups.join(one("first", pin_class::pins)).value();
  auto second = groups.join(one("second", pin_class::pins_on_demand)).value();
  auto third = groups.join(one("third", pin_class::pins)).value();
  CHECK(groups.pinning() == 2);
  groups.leave(first);
  CHECK(groups.pinning() == 1);
  groups.leave(second);
  CHECK(groups.pinning() == 1);
  CHECK(third.name() == "third");
  groups.leave(third);
  CHECK(groups.pinning() == 0);
  CHECK(groups.join(one("first", pin_class::pins)));
}

TEST_CASE("a group stays while a device of it is open and may leave afterwards") {
  endpoint_registry groups;
  auto group = groups.join(one("g", pin_class::pins)).value();
  auto device = endpoint_registry::open(group, "device").value();
  CHECK(device.name() == "device");
  CHECK(groups.may_leave(group).error().is(errc::still_in_use));
  CHECK(groups.may_leave(group).error().number() == 1);
  CHECK(groups.may_abandon().error().is(errc::still_in_use));
  endpoint_registry::close(device);
  CHECK(!device);
  CHECK(device.name().empty());
  CHECK(groups.may_leave(group));
  CHECK(groups.may_abandon());
}

TEST_CASE("a handle follows its group when it is moved and is empty once the group has left") {
  endpoint_registry groups;
  auto handle = groups.join(one("g", pin_class::pins)).value();
  auto moved = std::move(handle);
  CHECK(!handle);
  CHECK(groups.may_leave(handle).error().is(errc::stale_handle));
  CHECK(moved.name() == "g");
  groups.leave(moved);
  CHECK(!moved);
}

TEST_CASE("an abandoned group is stale and its name is free again") {
  endpoint_registry groups;
  auto old = groups.join(one("g", pin_class::pins)).value();
  groups.abandon();
  CHECK(!old);
  CHECK(groups.pinning() == 0);
  CHECK(endpoint_registry::classify(old, "device").error().is(errc::stale_handle));
  auto again = groups.join(one("g", pin_class::pins));
  REQUIRE(again);
  CHECK(groups.pinning() == 1);
}

}  // namespace runtime_backend_emulated_endpoint_registry
