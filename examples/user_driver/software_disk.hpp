// SPDX-License-Identifier: BSL-1.0
// A disk that is a vector, for where there is none: it reaches the program's memory as a real one
// does, through an IOMMU by I/O addresses, and only what is mapped.
#pragma once

#include <tether/backend/software_iommu.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace user_driver {

/// As `nvme::disk`.
template <class Buffers>
class software_disk {
 public:
  software_disk(tether::software_device& engine, Buffers& buffers)
      : engine_{engine}, buffers_{buffers}, bytes_(64 * 1024) {}

  [[nodiscard]] std::string name() const { return "a vector behind software_iommu"; }
  [[nodiscard]] std::uint64_t blocks() const noexcept { return bytes_.size() / block_size(); }
  [[nodiscard]] std::uint64_t block_size() const noexcept { return 512; }

  tether::result<void> read(std::uint64_t block, std::span<std::byte> into) {
    return buffers_.translate(into.data(), into.size()).and_then([&](tether::io_address at) {
      return engine_.dma_write(at, std::span{bytes_}.subspan(block * block_size(), into.size()));
    });
  }
  tether::result<void> write(std::uint64_t block, std::span<std::byte> from) {
    return buffers_.translate(from.data(), from.size()).and_then([&](tether::io_address at) {
      return engine_.dma_read(at, std::span{bytes_}.subspan(block * block_size(), from.size()));
    });
  }

 private:
  tether::software_device& engine_;
  Buffers& buffers_;
  std::vector<std::byte> bytes_;
};

}  // namespace user_driver
