// SPDX-License-Identifier: BSL-1.0
// The search of the emulated IOMMUs' tables, to be looked at: a branch that depends on an address
// is mispredicted half the time, and costs more than the rest of a step. And what is looked up
// without a search: two loads, and nothing that is done again for each block.
#include <tether/backend/detail/chunked_rows.hpp>

#include <codegen/fake_iommu.hpp>

#include <tether/backend/direct_lookup.hpp>
#include <tether/backend/mapped_buffers.hpp>
#include <tether/core/mapping.hpp>

#include <cstddef>
#include <cstdint>

namespace codegen::generic {

std::size_t search(tether::detail::chunked_rows<tether::host_address> const& rows,
                   std::uint64_t at) noexcept {
  return rows.at_or_before(at);
}

using blocks = tether::direct_lookup<2 * tether::MiB>;

bool translation(tether::mapped_buffers<fake_iommu<true>, blocks> const& buffers,
                 void const* memory, std::uint64_t bytes, std::uint64_t& at) noexcept {
  const auto found = buffers.translate(memory, bytes);
  if (!found) return false;
  at = found->value;
  return true;
}

}  // namespace codegen::generic

// What check.py must refuse: a step that is a branch, in a loop or in line; a walk through blocks.
namespace codegen::wrong {

static void step(std::uint64_t const*& base, std::size_t half, std::uint64_t at) noexcept {
  if (base[half] > at) return;
  base += half;
  asm volatile("" : "+r"(base));  // so that it stays a branch, whatever the compiler thinks best
}

std::uint64_t const* branching_search(std::uint64_t const* base, std::size_t length,
                                      std::uint64_t at) noexcept {
  for (; length > 1; length -= length / 2) step(base, length / 2, at);
  return base;
}

std::uint64_t const* unrolled_search(std::uint64_t const* base, std::size_t chunks,
                                     std::uint64_t at) noexcept {
  for (; chunks > 1; --chunks) asm volatile("" : "+r"(base));  // the one loop that there may be
  step(base, 32, at), step(base, 16, at), step(base, 8, at);
  step(base, 4, at), step(base, 2, at), step(base, 1, at);
  step(base, 8, at), step(base, 4, at), step(base, 2, at), step(base, 1, at);
  return base;
}

bool walking_translation(std::uint64_t const* blocks, std::uint64_t bytes,
                         std::uint64_t& at) noexcept {
  for (at = *blocks; bytes > 2 * tether::MiB; bytes -= 2 * tether::MiB)
    if ((*blocks++ & 1U) == 0) return false;  // whether the buffer goes on
  return true;
}

}  // namespace codegen::wrong
