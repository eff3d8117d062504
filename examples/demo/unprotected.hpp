// SPDX-License-Identifier: BSL-1.0
// The story without tether: the memory is mapped through a backend that pins, and the balloon
// discards behind its back. Nothing is simulated: the pages that the device reaches are not the
// CPU's any more.
#pragma once

#include "agreement.hpp"
#include "balloon_driver.hpp"
#include "guest_ram.hpp"
#include "host.hpp"
#include "must.hpp"
#include "plot.hpp"
#include "row.hpp"

#include <tether/backend/io_uring_buffers.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/mman.h>

namespace demo {

/// A balloon without a gate.
inline void discard_regardless(guest_ram const& ram, frame_run frames, row& told) {
  send_frames(frames, [&](std::span<std::byte const> numbers) {
    const std::uint64_t count = numbers.size() / 4;
    told.frames.requested += count;
    const auto last = static_cast<std::uint32_t>(count - 1) * 4;
    std::uint32_t lowest = 0;
    for (std::uint32_t byte = 0; byte < 4; ++byte)
      lowest |= std::to_integer<std::uint32_t>(numbers[last + byte]) << (8 * byte);
    const auto pages = ram.at(lowest * frame_size, count * frame_size);
    if (::madvise(pages.data(), pages.size(), MADV_DONTNEED) == 0) told.frames.discarded += count;
  });
}

/// `block`: bytes of each mapping, 0 for one mapping over everything. Blocks alone do not help: who
/// discards one must have it unmapped first.
inline void tell_unprotected(row& told, std::uint64_t block = 0) {
  const plot plot{told.guest_bytes};
  const guest_ram ram{told.guest_bytes};
  const std::uint64_t pinned_before = pinned_now();
  ram.write(plot.all, turn::boot);
  discard_regardless(ram, plot.early, told);

  auto iommu = must(tether::io_uring_buffers::open());
  auto nic = must(iommu.join({"nic", {{"eth0", tether::pin_class::pins}}}));
  const tether::mapping all = ram.as_mapping();
  const std::uint64_t most = block == 0 ? told.guest_bytes : block;
  for (std::uint64_t at = 0; at < told.guest_bytes; at += most) {
    const std::uint64_t last = std::min(at + most, told.guest_bytes) - 1;
    must(iommu.map({{tether::io_address{at}, tether::io_address{last}}, all.host + at}));
    told.map_calls += 1;
  }
  told.pinned_bytes = pinned_now() - pinned_before;
  auto eth0 = must(iommu.open(nic, "eth0"));

  discard_regardless(ram, plot.while_attached, told);
  for (const frame_run frames : {plot.early, plot.while_attached}) {
    ram.write(frames, turn::touched);
    told.stale_bytes += disagreements(ram, frames, eth0, turn::touched, turn::device_wrote);
  }
  discard_regardless(ram, plot.while_mediated, told);
  ram.write(plot.while_mediated, turn::touched);
  told.stale_bytes +=
      disagreements(ram, plot.while_mediated, eth0, turn::touched, turn::device_wrote);

  must(iommu.close(eth0));
  must(iommu.unmap(ram.as_mapping().where));
  must(iommu.leave(nic));
  discard_regardless(ram, plot.while_attached, told);

  told.expect("bytes pinned", told.pinned_bytes, told.guest_bytes);
  told.expect("frames discarded", told.frames.discarded, plot.requested());
  told.gone_meanwhile = std::uint64_t{plot.while_attached.count} + plot.while_mediated.count;
  told.expect("bytes at which CPU and device disagree", told.stale_bytes,
              plot.while_attached.bytes() + plot.while_mediated.bytes());
  told.end_as(verdict::corrupted);
}

}  // namespace demo
