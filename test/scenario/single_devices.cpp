// SPDX-License-Identifier: BSL-1.0
// Devices that are attached one by one (law 4's other half): asked and opened before they can reach
// anything, so that nothing is held down provisionally, and everything rolled back wherever an
// attach or a detach fails.
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>
#include <support/ungrouped.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace scenario_single_devices {

using namespace tether;
using namespace tether_test;

namespace {

using lone_software = one_by_one<on_software>;
using lone_uring = one_by_one<on_io_uring>;
static_assert(backend<lone_software::backend_type> && !has_kvm_file<lone_software::backend_type>);

/// What a backend was asked, and how many holds stood then.
struct asked {
  backend_call what;
  std::uint32_t holds;
};

template <class Model, class... Policies>
struct watched : passthrough<Model, Policies...> {
  explicit watched(typename Model::backend_type backend)
      : passthrough<Model, Policies...>{std::move(backend)} {
    this->book.before_each([this](journal_entry const& entry) {
      const auto counts = this->gate.counts();
      calls.push_back({entry.what, counts.any_holds + counts.uncoordinated_holds});
      if constexpr (Model::backend_type::pins) this->strike();
    });
  }
  [[nodiscard]] std::string told() const {
    std::string all;
    for (asked const& one : calls)
      all.append(all.empty() ? "" : " ")
          .append(name_of(one.what))
          .append(":")
          .append(std::to_string(one.holds));
    return all;
  }
  std::vector<asked> calls;
};

template <class Inhibition>
void order_of_calls(std::string const& n) {
  watched<lone_software, Inhibition> w{must(lone_software::make())};
  // A backend that pins nothing needs nobody held down: the same order, without a hold.
  auto nic = must(w.dma->attach(lone_nic()));
  CHECK(w.told() == "open:0 bind:0 join:0 map:0 map:0 map:0 map:0");
  w.calls.clear();
  must(nic.detach());
  CHECK(w.told() == "quiesce:0 unmap:0 unmap:0 unmap:0 unmap:0 leave:0 close:0");

  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  watched<lone_uring, Inhibition> v{std::move(*backend)};
  auto pinned = must(v.dma->attach(lone_nic()));
  CHECK(v.told() ==
        "open:0 bind:0 join:" + n + " map:" + n + " map:" + n + " map:" + n + " map:" + n);
  CHECK(v.disagreements(*pinned) == 0);
  v.calls.clear();
  must(pinned.detach());
  CHECK(v.told() == "quiesce:" + n + " unmap:" + n + " unmap:" + n + " unmap:" + n + " unmap:" + n +
                        " leave:" + n + " close:" + n);
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.stale_strikes == 0);
}

template <class Inhibition>
void an_agreeing_device_holds_nobody_down() {
  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<lone_uring, Inhibition> w{std::move(*backend)};
  auto vgpu = must(w.dma->attach(lone_vgpu(), agrees_to_discards));
  CHECK(w.gate.counts() == gate_counts{});
  CHECK(w.strikes > 6);  // the balloon ran before and after each call
  CHECK(w.disagreements(*vgpu) == 0);
  {
    auto nic = must(w.dma->attach(lone_nic()));
    CHECK(w.gate.counts().any_holds == 1);
    CHECK(w.disagreements(*nic) == 0);
    must(vgpu.detach());
    CHECK(w.gate.counts().any_holds == 1);
    vgpu = must(w.dma->attach(lone_vgpu(), agrees_to_discards));
    CHECK_FALSE(may_discard(w.gate, discard_kind::uncoordinated));
    must(nic.detach());
  }
  CHECK(w.gate.counts() == gate_counts{});
  must(vgpu.detach());
  CHECK(w.stale_strikes == 0);
}

template <class Inhibition>
void holds_of_two_in_a_group(std::uint32_t both, std::uint32_t one) {
  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<lone_uring, Inhibition> w{std::move(*backend)};
  auto first = must(w.dma->attach(lone_nic("nic", "7")));
  auto second = must(w.dma->attach(lone_nic("disk", "7")));
  CHECK(w.gate.counts().any_holds == both);
  CHECK(w.dma->membership() == container_counts{.members = 1, .need_no_hold = 0});
  must(first.detach());
  CHECK(w.gate.counts().any_holds == one);
  CHECK(w.disagreements(*second) == 0);
  must(second.detach());
  CHECK(w.gate.counts() == gate_counts{});
  CHECK(w.dma->membership() == container_counts{});
}

/// Refuses a device that differs from its neighbour in consent, whichever came first, and touches
/// nothing.
template <class Inhibition>
void a_mixed_group_is_refused() {
  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<lone_uring, Inhibition> w{std::move(*backend)};
  for (const bool agreeing_first : {true, false}) {
    const consent first = agreeing_first ? consent::given : consent::none;
    const consent second = agreeing_first ? consent::none : consent::given;
    static_cast<void>(must(w.dma->attach(lone_vgpu("one", "9"), first)));
    const auto before = w.state();
    w.book.clear();
    const auto refused = w.dma->attach(lone_vgpu("two", "9"), second);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::mixed_group));
    CHECK(w.book.entries().empty());
    CHECK(w.state() == before);
    static_cast<void>(must(w.dma->attach(lone_vgpu("three", "10"), second)));
    must(w.dma->abandon());
  }
}

/// Lets `act` fail at every call of the backend in turn, until none is left. What cannot be put
/// back (an unmap on the way out) keeps the hold until it is abandoned; then `restore` makes
/// everything as it was.
template <class Rig, class Act, class Restore>
std::uint64_t sweep(Rig& w, Act act, Restore restore) {
  const auto before = w.state();
  std::uint64_t stuck = 0;
  for (std::uint64_t n = 1;; ++n) {
    CAPTURE(n);
    w.book.fail_at(n, error::from_errno("injected", EIO));
    const bool done = act().has_value();
    if (w.book.faults_left() != 0) {
      w.book.clear_faults();
      CHECK(done);
      CHECK(n > 2);
      return stuck;
    }
    CHECK_FALSE(done);
    if (w.dma->diverged()) {
      ++stuck;
      CHECK(w.state().holds() == before.holds());
      must(w.dma->abandon());
      CHECK(w.gate.counts() == gate_counts{});
      restore();
    }
    const auto after = w.state();
    CHECK_MESSAGE(after == before, after.text());
  }
}

template <class Model, class... Policies>
void failures_leave_nothing_behind() {
  auto backend = Model::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<Model, Policies...> w{std::move(*backend)};
  using attached = typename passthrough<Model, Policies...>::container_type::attached;
  std::optional<attached> nic;
  std::optional<attached> disk;
  const auto attach = [&](std::optional<attached>& into,
                          lone_endpoint const& which) -> result<void> {
    auto done = w.dma->attach(which);
    if (!done) return failure(done.error());
    into = *done;
    return {};
  };
  const auto attach_nic = [&] { return attach(nic, lone_nic()); };
  const auto attach_disk = [&] { return attach(disk, lone_nic("disk", "8")); };
  CHECK(sweep(w, attach_nic, [] {}) == 0);
  CHECK(sweep(w, attach_disk, [] {}) == 0);
  CHECK(w.disagreements(**disk) == 0);
  CHECK(sweep(w, [&] { return disk->detach(); }, [] {}) == 0);
  // the four unmaps
  CHECK(sweep(w, [&] { return nic->detach(); }, [&] { must(attach_nic()); }) == 4);
  CHECK(w.gate.counts() == gate_counts{});
  CHECK(w.stale_strikes == 0);
}

}  // namespace

TEST_CASE(
    "a device is opened and bound before anything is held, held before it joins, and closed before "
    "the hold goes") {
  order_of_calls<inhibit_per_group>("1");
  order_of_calls<inhibit_per_container>("1");
  order_of_calls<inhibit_per_device>("1");
}

TEST_CASE(
    "a device that agrees is never held for, not even provisionally, and the balloon runs all "
    "along") {
  an_agreeing_device_holds_nobody_down<inhibit_per_group>();
  an_agreeing_device_holds_nobody_down<inhibit_per_container>();
  an_agreeing_device_holds_nobody_down<inhibit_per_device>();
}

TEST_CASE(
    "two devices of one IOMMU group are held for as the policy counts, until the last has gone") {
  holds_of_two_in_a_group<inhibit_per_group>(1, 1);
  holds_of_two_in_a_group<inhibit_per_container>(1, 1);
  holds_of_two_in_a_group<inhibit_per_device>(2, 1);
}

TEST_CASE(
    "a group of mixed consent is refused before anything is touched, but by inhibit_per_device") {
  a_mixed_group_is_refused<inhibit_per_group>();
  a_mixed_group_is_refused<inhibit_per_container>();
  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<lone_uring, inhibit_per_device> w{std::move(*backend)};
  auto agrees = must(w.dma->attach(lone_vgpu("one", "9"), agrees_to_discards));
  auto other = must(w.dma->attach(lone_vgpu("two", "9")));
  CHECK(w.gate.counts().any_holds == 1);
  must(other.detach());
  CHECK(w.gate.counts() == gate_counts{});
  must(agrees.detach());
}

TEST_CASE("a device that pins may not agree, and is not even opened") {
  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<lone_uring> w{std::move(*backend)};
  const auto before = w.state();
  const auto refused = w.dma->attach(lone_nic(), agrees_to_discards);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::consent_refused));
  CHECK(refused.error().subject() == "nic");
  CHECK(w.book.entries().empty());
  CHECK(w.state() == before);
}

TEST_CASE(
    "an attach or a detach of a device that fails at any call leaves everything as it was, on a "
    "software IOMMU") {
  failures_leave_nothing_behind<lone_software>();
}
TEST_CASE(
    "an attach or a detach of a device that fails at any call leaves everything as it was, on "
    "io_uring's pins") {
  failures_leave_nothing_behind<lone_uring, inhibit_per_device>();
  failures_leave_nothing_behind<lone_uring, inhibit_per_container, fixed_block<64 * KiB>>();
}

TEST_CASE(
    "a device that is kept busy stays attached, with its hold and every mapping, until it is "
    "free") {
  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<lone_uring> w{std::move(*backend)};
  auto nic = must(w.dma->attach(lone_nic()));
  const auto before = w.state();
  nic->keep_busy(true);
  const auto refused = nic.detach();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::still_in_use));
  CHECK(w.state() == before);
  CHECK(w.disagreements(*nic) == 0);
  nic->keep_busy(false);
  must(nic.detach());
  CHECK(nic.get() == nullptr);
  CHECK(nic.detach().error().is(errc::stale_handle));
}

TEST_CASE(
    "an undo of a device's attach that fails keeps the hold until abandon has proven everything "
    "gone") {
  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<lone_uring> w{std::move(*backend)};
  const auto fresh = w.state();
  w.book.fail_at(backend_call::map, 2, error::from_errno("map", ENOMEM));
  w.book.fail_at(backend_call::leave, 1, error::from_errno("leave", EIO));
  const auto failed = w.dma->attach(lone_nic());
  REQUIRE_FALSE(failed);
  CHECK(failed.error().is_errno(ENOMEM));
  CHECK(failed.error().rollback_failed());
  CHECK(w.dma->diverged());
  CHECK(w.gate.counts().any_holds == 1);
  CHECK(w.dma->attach(lone_nic("disk", "8")).error().is(errc::diverged));
  w.book.fail_at(backend_call::abandon, 1, error::from_errno("abandon", EBUSY));
  CHECK(w.dma->abandon().error().is_errno(EBUSY));
  CHECK(w.gate.counts().any_holds == 1);
  // It reaches nothing any more, but is open still: that stands in the way as well.
  w.book.fail_at(backend_call::close, 1, error::from_errno("close device", EINTR));
  CHECK(w.dma->abandon().error().is_errno(EINTR));
  CHECK(w.dma->diverged());
  CHECK(w.gate.counts().any_holds == 1);
  must(w.dma->abandon());
  const auto after = w.state();
  CHECK_MESSAGE(after == fresh, after.text());
  auto nic = must(w.dma->attach(lone_nic()));
  CHECK(w.disagreements(*nic) == 0);
}

TEST_CASE("a container that ends detaches each device, the last one first of all its mappings") {
  auto backend = lone_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<lone_uring> w{std::move(*backend)};
  static_cast<void>(must(w.dma->attach(lone_nic())));
  static_cast<void>(must(w.dma->attach(lone_nic("disk", "7"))));
  static_cast<void>(must(w.dma->attach(lone_vgpu(), agrees_to_discards)));
  w.dma.reset();
  CHECK(w.gate.counts() == gate_counts{});
  CHECK(w.book.count(backend_call::close) == 3);
  CHECK(w.book.entries().back().what == backend_call::close);
}

}  // namespace scenario_single_devices
