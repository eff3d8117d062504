// SPDX-License-Identifier: BSL-1.0
// The audit of real containers whose pins are the kernel's own: it finds what a program does behind
// tether's back, and raises no alarm about what tether does itself.
#include <tether/attach/audit.hpp>

#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/testing/recording.hpp>

#include <support/must.hpp>
#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace runtime_attach_audit {

using namespace tether;
using tether_test::host_page;
using tether_test::must;

namespace {

endpoint_group const nics{"nics", {{"nic", pin_class::pins}}};
endpoint_group const disks{"disks", {{"disk", pin_class::pins}}};
endpoint_group const vgpus{"vgpus", {{"vgpu", pin_class::pins_on_demand}}};

/// 64 pages of private RAM at 0, 64 of shared RAM at 1 GiB, all written to.
struct guest_with_ram {
  guest_with_ram() {
    fill();
    static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
    static_cast<void>(must(guest.place(region::ram(shared), guest_address{GiB})));
  }
  void fill() {
    for (ram_block* one : {&ram, &shared})
      for (std::uint64_t at = 0; at < one->size(); ++at) one->data()[at] = std::byte{1};
  }
  std::vector<std::uint32_t> all_frames() const {
    std::vector<std::uint32_t> all(ram.size() / (4 * KiB));
    std::iota(all.begin(), all.end(), 0U);
    return all;
  }
  ram_block ram = must(ram_block::allocate("ram", 64 * host_page()));
  ram_block shared = must(ram_block::allocate("shared", 64 * host_page(), memory_kind::shared));
  address_space guest;
  discard_gate<> gate;
};

template <class... Policies>
using watched = container<recording<io_uring_buffers>, audited, Policies...>;

}  // namespace

TEST_CASE_FIXTURE(guest_with_ram, "an audit finds what a program discards behind tether's back") {
  auto ring = io_uring_buffers::open({.slots = 64});
  if (!ring) return tether_test::skip_because(ring.error().sentence());
  container<io_uring_buffers, audited> dma{guest, gate, std::move(*ring)};
  auto group = must(dma.attach(nics));
  auto device = must(group.open("nic"));
  CHECK(must(audit(dma)).clean());

  // Nobody asked the gate. Written again, all looks well to the CPU; the device still reads what
  // was there before.
  REQUIRE(::madvise(ram.data() + 3 * host_page(), 2 * host_page(), MADV_DONTNEED) == 0);
  ram.data()[3 * host_page()] = std::byte{2};
  std::byte seen{};
  must(device->dma_read(io_address{3 * host_page()}, {&seen, 1}));
  REQUIRE(seen == std::byte{1});

  const audit_report found = must(audit(dma));
  const extent<io_address> whole{io_address{0}, io_address{ram.size() - 1}};
  CHECK(found.compared == ram.size() + shared.size());
  const auto page_4 = std::ranges::find(found.stale, io_address{4 * host_page()},
                                        [](auto const& one) { return one.where.first; });
  REQUIRE(page_4 != found.stale.end());
  CHECK(page_4->how == staleness::absent);
  CHECK(page_4->mapped_as == whole);
  CHECK(page_4->host == ram.backing().host() + 4 * host_page());
  if (found.by_frame_number) {
    REQUIRE(found.stale.size() == 2);
    CHECK(found.stale[0].where ==
          extent<io_address>{io_address{3 * host_page()}, io_address{4 * host_page() - 1}});
    CHECK(found.stale[0].how == staleness::replaced);
    REQUIRE(::madvise(shared.data(), host_page(), MADV_REMOVE) == 0);
    CHECK(must(audit(dma)).stale.back().where.first == io_address{GiB});
  }

  // Mapped anew, they agree again.
  must(device.close());
  must(group.detach());
  CHECK(must(audit(dma)).compared == 0);
  static_cast<void>(must(dma.attach(nics)));
  CHECK(must(audit(dma)).clean());
}

TEST_CASE_FIXTURE(guest_with_ram,
                  "whatever a container and a balloon do themselves, an audit has nothing to say") {
  auto ring = io_uring_buffers::open({.slots = 512});
  if (!ring) return tether_test::skip_because(ring.error().sentence());
  watched<fixed_block<64 * KiB>> dma{guest, gate, recording<io_uring_buffers>{std::move(*ring)}};
  balloon<> pages{guest, gate};
  std::uint64_t audits = 0;
  // The observer is asked itself: this runs under the container's lock.
  dma.backend().log().after_each([&](journal_entry const& done) {
    // what is gone is told a moment later
    if (done.what == backend_call::unmap || done.what == backend_call::leave) return;
    pages.inflate(all_frames());
    pages.deflate(all_frames());
    fill();
    CHECK(must(dma.observer().compare()).clean());
    ++audits;
  });
  for (int round = 0; round < 3; ++round) {
    auto mediated = must(dma.attach(vgpus));
    auto agreeing = must(mediated.open("vgpu", agrees_to_discards));
    auto first = must(dma.attach(nics));  // joins where memory is mapped: a pin point
    auto second = must(dma.attach(disks));
    CHECK(must(audit(dma)).compared == ram.size() + shared.size());
    must(guest.remove(
        must(guest.place(region::mmio("registers", host_page()), guest_address{0}, 1))));
    must(first.detach());
    must(second.detach());
    CHECK(must(audit(dma)).compared == 0);
    must(agreeing.close());
    must(mediated.detach());
  }
  dma.backend().log().after_each({});
  CHECK(audits > 20);
}

TEST_CASE_FIXTURE(
    guest_with_ram,
    "a container whose undo failed is audited still; abandoned, it has nothing left to compare") {
  auto ring = io_uring_buffers::open({.slots = 64});
  if (!ring) return tether_test::skip_because(ring.error().sentence());
  watched<> dma{guest, gate, recording<io_uring_buffers>{std::move(*ring)}};
  auto group = must(dma.attach(nics));
  dma.backend().log().fail_at(backend_call::unmap, 1,
                              error{"unmap", errc::memory_gone}.with_failed_rollback());
  REQUIRE_FALSE(group.detach());
  REQUIRE(dma.diverged());
  REQUIRE(::madvise(ram.data(), host_page(), MADV_DONTNEED) == 0);
  CHECK_FALSE(must(audit(dma)).clean());
  must(dma.abandon());
  CHECK(must(audit(dma)).compared == 0);
}

TEST_CASE_FIXTURE(guest_with_ram,
                  "an IOMMU of software pins nothing, so nothing of it can be stale") {
  container<software_iommu, audited> dma{guest, gate, software_iommu{}};
  static_cast<void>(must(dma.attach(nics)));
  REQUIRE(::madvise(ram.data(), host_page(), MADV_DONTNEED) == 0);
  const audit_report found = must(audit(dma));
  CHECK(found.clean());
  CHECK(found.not_compared == ram.size() + shared.size());
}

}  // namespace runtime_attach_audit
