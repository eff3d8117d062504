// SPDX-License-Identifier: BSL-1.0
// The search of the emulated IOMMUs' tables, to be looked at: a branch that depends on an address
// is mispredicted half the time, and costs more than the rest of a step.
#include <tether/backend/detail/chunked_rows.hpp>

#include <tether/core/mapping.hpp>

#include <cstddef>
#include <cstdint>

namespace codegen::generic {

std::size_t search(tether::detail::chunked_rows<tether::host_address> const& rows,
                   std::uint64_t at) noexcept {
  return rows.at_or_before(at);
}

}  // namespace codegen::generic

// What check.py must refuse: a step that is a branch, in a loop or in line.
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

}  // namespace codegen::wrong
