// SPDX-License-Identifier: BSL-1.0
// The global operator new of the executables whose tests let allocations fail
// (failing_allocation.hpp).
#include <support/failing_allocation.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

thread_local std::uint64_t tether_test::failing_allocation = 0;
thread_local std::uint64_t tether_test::bytes_allocated = 0;
thread_local std::uint64_t tether_test::allocations_made = 0;

namespace {

[[maybe_unused]] bool fails() noexcept {
  return tether_test::failing_allocation != 0 && --tether_test::failing_allocation == 0;
}

}  // namespace

#ifndef TETHER_TEST_HAS_TSAN
// Every form is replaced: a sanitizer supplies its own for those that are missing, and the two do
// not mix. Not inlined, or g++ sees a free of memory from another operator new.
[[gnu::noinline]] void* operator new(std::size_t size, std::nothrow_t const&) noexcept {
  if (fails()) return nullptr;
  tether_test::bytes_allocated += size;
  ++tether_test::allocations_made;
  return std::malloc(size != 0 ? size : 1);
}
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* const at = operator new(size, std::nothrow)) return at;
  throw std::bad_alloc{};
}
[[gnu::noinline]] void* operator new[](std::size_t size) { return operator new(size); }
[[gnu::noinline]] void* operator new[](std::size_t size, std::nothrow_t const& no) noexcept {
  return operator new(size, no);
}
[[gnu::noinline]] void operator delete(void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, std::nothrow_t const&) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete[](void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete[](void* at, std::size_t) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete[](void* at, std::nothrow_t const&) noexcept {
  std::free(at);
}
#endif
