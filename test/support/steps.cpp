// SPDX-License-Identifier: BSL-1.0
// What the instrumented code calls at each basic block, and in place of memcpy and memmove (the
// linker's --wrap). Not instrumented itself.
#include <support/steps.hpp>

#include <cstddef>
#include <cstdint>

thread_local bool tether_test::counts_steps = false;
thread_local std::uint64_t tether_test::steps_taken = 0;
thread_local std::uint64_t tether_test::bytes_moved = 0;

extern "C" {

void __sanitizer_cov_trace_pc();
void* __real_memcpy(void* to, void const* from, std::size_t size);
void* __real_memmove(void* to, void const* from, std::size_t size);
void* __wrap_memcpy(void* to, void const* from, std::size_t size);
void* __wrap_memmove(void* to, void const* from, std::size_t size);

void __sanitizer_cov_trace_pc() {
  if (tether_test::counts_steps) ++tether_test::steps_taken;
}
void* __wrap_memcpy(void* to, void const* from, std::size_t size) {
  if (tether_test::counts_steps) tether_test::bytes_moved += size;
  return __real_memcpy(to, from, size);
}
void* __wrap_memmove(void* to, void const* from, std::size_t size) {
  if (tether_test::counts_steps) tether_test::bytes_moved += size;
  return __real_memmove(to, from, size);
}
}
