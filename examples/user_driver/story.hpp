// SPDX-License-Identifier: BSL-1.0
// What is done with a disk, whichever it is: blocks go to it and come back, scattered over buffers
// of the program's own; and what becomes of a buffer whose pages are discarded.
#pragma once

#include "dma_memory.hpp"
#include "must.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <span>
#include <string>

namespace user_driver {

inline constexpr std::uint64_t overwritten = 64 * 1024;  ///< of the disk, from its first block on

/// Writes all of it, reads it back page by page into as many buffers. Answers whether the same came
/// back.
template <class Disk, class Buffers>
bool there_and_back(Disk& disk, Buffers& buffers) {
  constexpr std::uint64_t page = 4096;
  const dma_memory<Buffers> out{buffers, overwritten};
  for (std::size_t i = 0; i != overwritten; ++i)
    out.bytes()[i] = static_cast<std::byte>(i * 7 + i / 251);
  must(disk.write(0, out.bytes()));
  std::deque<dma_memory<Buffers>> in;
  bool same = true;
  for (std::uint64_t at = 0; at != overwritten; at += page) {
    auto const& one = in.emplace_back(buffers, page);
    must(disk.read(at / disk.block_size(), one.bytes()));
    same = same && std::ranges::equal(one.bytes(), out.bytes().subspan(at, page));
  }
  // A block that begins in one page and ends in the next: any byte has its I/O address.
  const dma_memory<Buffers> two_pages{buffers, 2 * page};
  const auto across = two_pages.bytes().subspan(page - 256, disk.block_size());
  must(disk.read(0, across));
  same = same && std::ranges::equal(across, out.bytes().first(across.size()));
  std::printf("%d KiB written, read into %d buffers: %s\n", static_cast<int>(overwritten / 1024),
              static_cast<int>(in.size()), same ? "the same" : "something else");
  return same;
}

/// A page of a buffer is discarded, then the disk reads into it. Prints what the disk holds and
/// what the CPU sees, and answers whether both are as they must be.
template <class Disk, class Buffers>
bool discarded(Disk& disk, Buffers& buffers, bool unmapped_first, bool coherent) {
  constexpr std::byte on_disk{0x5a};
  dma_memory<Buffers> out{buffers, 4096};
  std::ranges::fill(out.bytes(), on_disk);
  must(disk.write(0, out.bytes()));
  dma_memory<Buffers> in{buffers, 4096};
  if (unmapped_first) in.unmap();
  in.discard();
  if (unmapped_first) in.map();
  must(disk.read(0, in.bytes()));
  std::ranges::fill(out.bytes(), std::byte{});
  must(disk.read(0, out.bytes()));
  std::printf("discarded %s the disk holds %02x, the CPU sees %02x\n",
              unmapped_first ? "when unmapped:" : "while mapped: ",
              std::to_integer<unsigned>(out.bytes()[0]), std::to_integer<unsigned>(in.bytes()[0]));
  return out.bytes()[0] == on_disk && in.bytes()[0] == (coherent ? on_disk : std::byte{});
}

/// `pins`: whether the IOMMU pins what is mapped.
template <class Disk, class Buffers>
bool tell(Disk& disk, Buffers& buffers, bool pins) {
  std::printf("%s: %llu blocks of %llu bytes\n", std::string{disk.name()}.c_str(),
              static_cast<unsigned long long>(disk.blocks()),
              static_cast<unsigned long long>(disk.block_size()));
  const bool same = there_and_back(disk, buffers);
  // A pin keeps the old page for the device, and the CPU gets a new one.
  const bool stale = discarded(disk, buffers, false, !pins);
  const bool cured = discarded(disk, buffers, true, true);
  return same && stale && cured;
}

}  // namespace user_driver
