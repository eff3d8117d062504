// SPDX-License-Identifier: BSL-1.0
// Law 6: where an undo fails, nobody knows any more what a device can reach. So the container is
// diverged: it refuses to go on and keeps its holds, which the real kernel's pins confirm, until
// abandon() has proven that the kernel let go.
// tier: 1 2
// machine: -device edu
#include <system/in_machine.hpp>

#include <cerrno>
#include <sys/mman.h>

namespace system_diverged_keeps_its_holds {

using namespace in_machine;

namespace {

using watched = recording<vfio_type1>;

/// An attach whose second mapping fails, and the taking back of the first as well. No group has
/// stayed in, but its pins have.
template <class Inhibition>
void an_attach_that_cannot_be_taken_back() {
  vm_on<watched, Inhibition> v;
  auto& book = v.dma.backend().log();
  const auto group = group_of(edu_address());
  book.fail_at(backend_call::map, 2, error::from_errno("map", EIO));
  book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  const auto failed = v.dma.attach(group);
  REQUIRE(!failed);
  CHECK(failed.error().rollback_failed());
  CHECK(v.dma.diverged());
  // The holds are right: the kernel still has the memory.
  CHECK(locked_by_the_kernel() != 0);
  CHECK(v.gate.counts() != gate_counts{});
  const auto frames = frames_behind(v.ram);
  CHECK(v.balloon.inflate(frame_numbers(0, 16)).inhibited == 16);
  CHECK(frames_behind(v.ram) == frames);
  const auto again = v.dma.attach(group);
  REQUIRE(!again);
  CHECK(again.error().is(errc::diverged));

  must(v.dma.abandon());
  CHECK(!v.dma.diverged());
  CHECK(locked_by_the_kernel() == 0);
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.dma.usage().mappings == 0);
  CHECK(v.balloon.inflate(frame_numbers(0, 16)).discarded == 16);
  auto anew = must(v.dma.attach(group));
  CHECK(locked_by_the_kernel() == v.ram.size() + v.mailbox.size());
  must(anew.detach());
}

}  // namespace

TEST_CASE(
    "an attach that cannot be rolled back keeps its holds, as the kernel keeps its pins, and "
    "abandon() ends both") {
  an_attach_that_cannot_be_taken_back<inhibit_per_group>();
  an_attach_that_cannot_be_taken_back<inhibit_per_device>();
  an_attach_that_cannot_be_taken_back<inhibit_per_container>();
}

TEST_CASE(
    "abandon() says what stands in the way, keeps every hold as long as it does, and then frees "
    "everything") {
  vm_on<watched, inhibit_per_device> v;
  auto& book = v.dma.backend().log();
  const auto address = edu_address();
  const auto group_is = group_of(address);
  auto group = must(v.dma.attach(group_is));
  auto device = must(group.open(address));
  std::optional<engine> dma{v.drive(*device)};
  const auto sent = pattern(3, 1, 64);
  must(dma->dma_write(io_address{3 * page}, sent));
  const int descriptor = device->descriptor();
  // behind tether's back
  void* const bar = ::mmap(nullptr, page, PROT_READ, MAP_SHARED, descriptor, 0);
  REQUIRE(bar != MAP_FAILED);

  // A change of rights takes the old mapping away, fails to make the new one, and cannot put the
  // old one back.
  book.fail_at(backend_call::map, 1, error::from_errno("map", EIO));
  book.fail_at(backend_call::map, 2, error::from_errno("map", EIO));
  const auto changed = v.guest.set_read_only(v.ram_region, true);
  REQUIRE(!changed);
  CHECK(changed.error().rollback_failed());
  REQUIRE(v.dma.diverged());
  const auto held = v.gate.counts();
  CHECK(held != gate_counts{});
  CHECK(group.detach().error().is(errc::diverged));
  CHECK(device.close().error().is(errc::diverged));

  const auto still_held = [&] {
    CHECK(v.dma.diverged());
    CHECK(v.gate.counts() == held);
    CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  };
  const auto in_the_way = [&] {
    const auto refused = v.dma.abandon();
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::still_in_use));
    CHECK(refused.error().subject() == group_is.name());
    CHECK(refused.error().sentence().find("BAR") != std::string::npos);
    still_held();
  };
  still_held();
  in_the_way();  // the engine's registers: the device is not even closed
  CHECK(::fcntl(descriptor, F_GETFD) >= 0);
  dma.reset();
  in_the_way();  // closed by now, but the kernel counts the mapping that tether does not know
  CHECK(::fcntl(descriptor, F_GETFD) < 0);
  ::munmap(bar, page);

  must(v.dma.abandon());
  CHECK(!v.dma.diverged());
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(locked_by_the_kernel() == 0);
  CHECK(v.dma.usage().mappings == 0);
  CHECK(group.detach().error().is(errc::stale_handle));
  CHECK(device.get() == nullptr);
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).discarded == 4);

  group = must(v.dma.attach(group_is));
  device = must(group.open(address));
  {
    auto anew = v.drive(*device);
    must(anew.dma_write(io_address{2 * page}, sent));
    CHECK(std::ranges::equal(v.at(2 * page, sent.size()), sent));
  }
  must(group.detach());
  CHECK(v.gate.counts() == gate_counts{});
}

}  // namespace system_diverged_keeps_its_holds
