// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B11\]: a lookup of mapped_buffers needs
#include <tether/backend/direct_lookup.hpp>
#include <tether/backend/mapped_buffers.hpp>
#include <tether/backend/software_iommu.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>

#ifdef TETHER_CONTROL
constexpr std::uint64_t size = 64 * tether::KiB;
#else
constexpr std::uint64_t size = 48 * tether::KiB;
#endif

using buffers_type = tether::mapped_buffers<tether::software_iommu, tether::direct_lookup<size>>;

void drive(buffers_type& buffers, std::byte* memory);
void drive(buffers_type& buffers, std::byte* memory) {
  const auto at = buffers.map({memory, 64 * tether::MiB});
  if (!at) std::puts(at.error().sentence().c_str());
  const auto entry = buffers.translate(memory + 4096, 64);
  if (entry) std::printf("%zu\n", buffers.size());
  static_cast<void>(buffers.unmap(memory));
}
