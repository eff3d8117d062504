// SPDX-License-Identifier: BSL-1.0
// What a container tells when it fails, and what it does when nothing can be proven any more: it
// keeps its holds, and the memory, until it is abandoned, or for ever.
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/granule/largest_page.hpp>
#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace scenario_failed_attach {

using namespace tether;
using namespace tether_test;

namespace {

/// Told of a divergence, once.
struct bell {
  using slot = observation_slot;
  std::uint64_t rung = 0;
  std::string why;
  void diverged(error const& cause) noexcept {
    ++rung;
    why = cause.sentence();
  }
};

}  // namespace

TEST_CASE(
    "an attach that fails on the k-th region names that region and its extent, and the k - 1 "
    "before it are unmapped") {
  auto backend = on_io_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<on_io_uring> w{std::move(*backend)};
  const std::vector<std::string> regions{"low", "low", "rom", "high"};
  for (std::uint64_t k = 1; k <= regions.size(); ++k) {
    CAPTURE(k);
    w.book.clear();
    w.book.fail_at(
        backend_call::map, k,
        error::from_errno("map", ENOMEM).at(extent<io_address>{io_address{1}, io_address{2}}));
    const auto failed = w.dma->attach(pinning_group());
    REQUIRE_FALSE(failed);
    CHECK(failed.error().is_errno(ENOMEM));
    CHECK(failed.error().subject() == regions[k - 1]);
    CHECK(failed.error().has_extent());
    CHECK(std::string{failed.error().operation()} == "map");
    CHECK(w.book.count(backend_call::map) == k);
    CHECK(w.book.count(backend_call::unmap) == k - 1);
    CHECK(w.book.entries().back().what == backend_call::leave);
    CHECK(w.gate.counts() == gate_counts{});
  }
  // Only the first failure is told, even if the undo fails as well.
  w.book.fail_at(backend_call::map, 3, error::from_errno("map", ENOMEM));
  w.book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  const auto failed = w.dma->attach(pinning_group());
  REQUIRE_FALSE(failed);
  CHECK(failed.error().is_errno(ENOMEM));
  CHECK(failed.error().subject() == "rom");
  CHECK(failed.error().rollback_failed());
  must(w.dma->abandon());
}

TEST_CASE(
    "a divergence is told to the observer, holds are kept until abandon works, and then it can be "
    "used anew") {
  auto backend = on_io_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<on_io_uring, bell, inhibit_per_container> w{std::move(*backend)};
  auto group = must(w.dma->attach(pinning_group()));
  auto device = must(group.open("nic"));
  w.book.fail_at(backend_call::leave, 1, error::from_errno("leave", EBUSY));
  w.book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  const auto failed = group.detach();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().is_errno(EBUSY));
  CHECK(failed.error().rollback_failed());
  CHECK(w.dma->observer().rung == 1);
  CHECK(w.dma->diverged());
  CHECK(w.gate.counts().any_holds == 1);
  CHECK_FALSE(may_discard(w.gate, discard_kind::coordinated));

  // What still stands in the way is said each time, and each time the holds stay.
  w.book.fail_at(backend_call::abandon, 1, error::from_errno("abandon", EBUSY));
  const auto refused = w.dma->abandon();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is_errno(EBUSY));
  CHECK(w.gate.counts().any_holds == 1);
  CHECK(w.dma->diverged());
  CHECK(device.get() == nullptr);

  must(w.dma->abandon());
  CHECK(w.gate.counts() == gate_counts{});
  must(w.dma->abandon());  // nothing to do
  auto anew = must(w.dma->attach(pinning_group()));
  auto nic = must(anew.open("nic"));
  CHECK(w.disagreements(*nic) == 0);
  CHECK(w.stale_strikes == 0);
}

TEST_CASE("abandoning a healthy container gives everything back in order") {
  auto backend = on_io_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<on_io_uring, inhibit_per_device> w{std::move(*backend)};
  const auto fresh = w.state();
  auto nics = must(w.dma->attach(pinning_group()));
  auto vgpus = must(w.dma->attach(mediated_group()));
  auto nic = must(nics.open("nic"));
  static_cast<void>(must(vgpus.open("vgpu2")));
  must(w.dma->abandon());
  const auto after = w.state();
  CHECK_MESSAGE(after == fresh, after.text());
  CHECK(nic.get() == nullptr);
  CHECK(nics.detach().error().is(errc::stale_handle));
  CHECK(w.stale_strikes == 0);
}

TEST_CASE("a device that a refused abandon could not close is still there for its handle") {
  auto backend = on_io_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<on_io_uring> w{std::move(*backend)};
  auto group = must(w.dma->attach(pinning_group()));
  auto device = must(group.open("nic"));
  w.book.fail_at(backend_call::close, 1, error::from_errno("close", EBUSY));
  w.book.fail_at(backend_call::abandon, 1, error::from_errno("abandon", EBUSY));
  CHECK(w.dma->abandon().error().is_errno(EBUSY));
  CHECK(device.get() != nullptr);
  must(w.dma->abandon());
  CHECK(device.get() == nullptr);
}

TEST_CASE(
    "where even abandon fails, holds and memory are kept for ever after the container has gone, "
    "and the gate says so") {
  auto opened = on_io_uring::make();
  if (!opened) return skip_because(opened.error().sentence());
  passthrough<on_io_uring> w{std::move(*opened)};
  static_cast<void>(must(w.dma->attach(pinning_group())));
  static_cast<void>(must(w.dma->attach(mediated_group())));
  CHECK(w.gate.counts().any_holds == 2);
  w.book.before_each({});
  w.book.after_each({});
  for (std::uint64_t n = 1; n <= 2; ++n)
    w.book.fail_at(backend_call::unmap, n, error::from_errno("unmap", EIO));
  w.book.fail_at(backend_call::abandon, 1, error::from_errno("abandon", EIO));
  w.dma.reset();
  const auto held = w.gate.counts();
  CHECK(held.any_holds == 1);  // the mediated group could be detached
  CHECK_FALSE(may_discard(w.gate, discard_kind::coordinated));
  std::uint32_t kept = 0;
  w.gate.for_each_holder([&](holder_info const& who) {
    kept += who.count;
    CHECK(who.name.find("could not be torn down") != std::string::npos);
  });
  CHECK(kept == 1);
  CHECK_FALSE(w.gate.require(requirement_kind::coordinated, "virtio-mem"));
  must(w.guest.remove(w.low_region));
  CHECK(w.low->backing().references() != 0);
  CHECK(w.low->free().error().is(errc::still_in_use));
  // Another container works beside what is left of this one.
  container<io_uring_buffers> next{w.guest, w.gate, must(on_io_uring::make())};
  auto again = must(next.attach(pinning_group("others")));
  CHECK(w.gate.counts().any_holds == 2);
  must(again.detach());
  CHECK(w.gate.counts() == held);
}

TEST_CASE(
    "a full locked-memory limit is ENOMEM with advice, tells itself apart from a full budget, and "
    "nothing is half pinned") {
  if (auto backend = on_io_uring::make(); !backend) return skip_because(backend.error().sentence());
  std::fflush(stdout);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // An ordinary user with 256 KiB; nothing in here may end in doctest.
    const rlimit small{256 * KiB, 256 * KiB};
    if (::setrlimit(RLIMIT_MEMLOCK, &small) != 0 || ::setuid(65534) != 0) ::_exit(77);
    address_space guest;
    discard_gate<> gate;
    auto ram = ram_block::allocate("ram", 1 * MiB);
    auto ring = io_uring_buffers::open({.slots = 64});
    if (!ring) ::_exit(77);
    if (!ram) ::_exit(2);
    int code = 0;
    {
      container<io_uring_buffers, largest_page> dma{guest, gate, std::move(*ring)};
      const auto id = guest.place(region::ram(*ram, block_offset{0}, 64 * KiB), guest_address{0});
      auto mediated = dma.attach(mediated_group());
      auto more =
          guest.place(region::ram(*ram, block_offset{64 * KiB}, 128 * KiB), guest_address{1 * MiB});
      if (!id || !mediated || !more) code = 3;
      else {
        const auto before = gate.counts();
        const rlimit none{64 * KiB, 64 * KiB};
        if (::setrlimit(RLIMIT_MEMLOCK, &none) != 0) code = 4;
        const auto pinning = dma.attach(pinning_group());
        if (pinning) code = 5;
        else if (!pinning.error().is_errno(ENOMEM)) code = 6;
        else if (pinning.error().sentence().find("ulimit -l") == std::string::npos) code = 7;
        else if (gate.counts() != before || dma.backend().pinned_bytes() != 0 || dma.diverged())
          code = 8;
        else if (dma.usage().mappings != 48) code = 9;
        else if (!mediated->detach()) code = 10;
        // Now the budget: more pages than slots.
        if (code == 0) {
          auto group = dma.attach(mediated_group());
          auto budget = guest.place(region::ram(*ram, block_offset{256 * KiB}, 128 * KiB),
                                    guest_address{2 * MiB});
          if (!group || budget || !budget.error().is(errc::over_budget)) code = 11;
          if (code == 0 && !group->detach()) code = 12;
        }
      }
      if (id && !guest.remove(*id)) code = 13;
      if (more && !guest.remove(*more)) code = 14;
    }
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) return skip_because("an ordinary user cannot be tried here");
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace scenario_failed_attach
