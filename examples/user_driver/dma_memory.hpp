// SPDX-License-Identifier: BSL-1.0
// Memory of the program's own that a device can reach as long as it lives.
#pragma once

#include "must.hpp"

#include <tether/core/address.hpp>
#include <tether/topology/ram_block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/mman.h>

namespace user_driver {

/// `Buffers`: a `tether::mapped_buffers`, which outlives it. A `ram_block` is page-aligned, all
/// zeros and not inherited by a fork; any other memory would do.
template <class Buffers>
class dma_memory {
 public:
  dma_memory(Buffers& buffers, std::uint64_t size)
      : buffers_{buffers}, block_{must(tether::ram_block::allocate("buffer", size))} {
    map();
  }
  dma_memory(dma_memory const&) = delete;
  dma_memory& operator=(dma_memory const&) = delete;
  ~dma_memory() { static_cast<void>(buffers_.unmap(block_.data())); }

  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return {block_.data(), block_.size()};
  }
  [[nodiscard]] std::byte* data() const noexcept { return block_.data(); }
  /// Where a device sees its byte of that number.
  [[nodiscard]] tether::io_address at(std::uint64_t offset = 0) const {
    return must(buffers_.translate(block_.data() + offset));
  }

  void map() {
    must(buffers_.map(bytes()).map([](tether::io_address) noexcept {}));
  }
  void unmap() { must(buffers_.unmap(block_.data())); }
  /// Gives its pages back to the host, as a balloon would. Whether a device can still reach them
  /// nobody asks here: that is what the story is about.
  void discard() { ::madvise(block_.data(), block_.size(), MADV_DONTNEED); }

 private:
  Buffers& buffers_;
  tether::ram_block block_;
};

}  // namespace user_driver
