// SPDX-License-Identifier: BSL-1.0
// The reference count by itself; what it does for a device is in device.cpp.
#include <tether/backend/vfio/device_state.hpp>

#include <support/fake_vfio_kernel.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

namespace runtime_backend_vfio_device_state {

using namespace tether::detail;

TEST_CASE("the last view destroys the device only if the handle has ended before it") {
  SUBCASE("the views end first: the handle's owner destroys it") {
    view_count views;
    views.add();
    views.add();
    CHECK(views.count() == 2);
    CHECK_FALSE(views.drop_view());
    CHECK_FALSE(views.drop_view());
    CHECK(views.count() == 0);
    CHECK_FALSE(views.drop_handle());
  }
  SUBCASE("the handle ends first: the last view destroys it, which counts until then") {
    view_count views;
    views.add();
    views.add();
    CHECK(views.drop_handle());
    CHECK(views.count() == 2);
    CHECK_FALSE(views.drop_view());
    CHECK(views.drop_view());
    CHECK(views.count() == 1);
  }
}

TEST_CASE("who waits for the last view is told once, and has the handle again") {
  struct waiting : tether::unused_notice {
    waiting()
        : unused_notice{
              [](unused_notice& one) noexcept { static_cast<waiting&>(one).times += 1; }} {}
    int times = 0;
  };
  waiting who;
  vfio_device_state<tether_test::fake_vfio_kernel> device;
  CHECK_FALSE(device.tell_when_unused(who));
  CHECK_FALSE(device.views.drop_handle());
  device.views.take_back_handle();
  device.views.add();
  device.views.add();
  CHECK(device.tell_when_unused(who));
  device.end_view();
  CHECK(who.times == 0);
  device.end_view();
  CHECK(who.times == 1);
  CHECK(device.views.count() == 0);
  CHECK_FALSE(device.views.drop_handle());
}

TEST_CASE("of views and a handle that end at once, exactly one learns that it is the last") {
  for (int round = 0; round < 500; ++round) {
    view_count views;
    views.add();
    std::atomic<int> owners{0};
    std::thread other{[&] { owners += views.drop_view() ? 1 : 0; }};
    owners += views.drop_handle() ? 0 : 1;
    other.join();
    REQUIRE(owners == 1);
  }
}

TEST_CASE("a device's place in the ring outlasts its descriptor") {
  using device = vfio_device_state<tether_test::fake_vfio_kernel>;
  ring_link<device> head;
  {
    device one;
    one.joined.join(head);
    CHECK(head.first() == &one);
    // Members are destroyed in reverse order: the descriptor is closed, then the ring is left.
    CHECK(static_cast<void*>(&one.joined) < static_cast<void*>(&one.descriptor));
  }
  CHECK(head.alone());
}

}  // namespace runtime_backend_vfio_device_state
