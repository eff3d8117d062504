// SPDX-License-Identifier: BSL-1.0
// What a container knows of its devices, without the backend around it. What happens in a sequence
// of joins and leaves is in iommufd.cpp.
#include <tether/backend/iommufd/container_state.hpp>

#include <support/fake_iommufd_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <optional>

namespace runtime_backend_iommufd_container_state {

using namespace tether;
using tether_test::fake_iommufd_kernel;
using tether_test::iommufd_bench;
using tether_test::must;

namespace {

/// The state of a container, and a device that is bound to its context.
struct fixture : iommufd_bench {
  detail::iommufd_container_state<fake_iommufd_kernel> state{context, sysfs(), true};
  backend_type other = container();
  device_type device = bound(other, edu);
};

}  // namespace

TEST_CASE("a device is bound only to the very context of the container") {
  fixture f;
  CHECK_FALSE(f.state.is_bound(nullptr));
  CHECK(f.state.is_bound(f.device.state()));
  const auto elsewhere = must(iommufd_bench::context_type::open());
  const detail::iommufd_container_state<fake_iommufd_kernel> stranger{elsewhere, f.sysfs(), true};
  CHECK_FALSE(stranger.is_bound(f.device.state()));
  must(f.other.close(f.device));
  CHECK_FALSE(f.state.is_bound(f.device.state()));
}

TEST_CASE("it pins while a device that is not mediated has joined") {
  fixture f;
  auto mediated = f.bound(f.other, f.mtty);
  CHECK_FALSE(f.state.pins());
  mediated.state()->joined.join(f.state.joined);
  CHECK_FALSE(f.state.pins());
  f.device.state()->joined.join(f.state.joined);
  CHECK(f.state.pins());
  f.device.state()->joined.leave();
  CHECK_FALSE(f.state.pins());
}

TEST_CASE("a mapped BAR is in the way of abandoning it, which closes every device otherwise") {
  fixture f;
  must(f.state.ioas.allocate());
  f.device.state()->joined.join(f.state.joined);
  {
    const auto bar = must(f.device.map_bar(0));
    const auto refused = f.state.abandon();
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::still_in_use));
    CHECK(refused.error().subject() == "0000:01:00.0");
    CHECK(f.device.descriptor() >= 0);
  }
  must(f.state.abandon());
  CHECK(f.device.descriptor() < 0);
  CHECK(f.device.state()->joined.alone());
  CHECK(f.state.ioas.id() == 0);
}

}  // namespace runtime_backend_iommufd_container_state
