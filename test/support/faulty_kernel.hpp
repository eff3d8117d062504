// SPDX-License-Identifier: BSL-1.0
// Linux with a fault at a chosen call: the n-th system call from now answers an errno and does
// nothing. A sweep raises n until no fault fires any more, and so walks every failure path.
#pragma once

#include <tether/core/kernel.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tether {

/// The calls of the seam, to count them separately. `numbered` is `call(number, ...)`.
enum class kernel_call : std::uint8_t {
  mmap,
  move_mapping,
  mprotect,
  munmap,
  madvise,
  memfd_create,
  ftruncate,
  fallocate,
  fstat,
  stat,
  duplicate,
  descriptor_flags,
  add_seals,
  seals,
  close,
  numbered,
  other
};

/// Counters are process-wide (the kernel seam is stateless, so its faults must be) and thread-safe.
/// A function that is added to `linux_kernel` needs one line here, or it cannot be made to fail.
struct faulty_kernel : linux_kernel {
  using answer = linux_kernel::answer;

  /// The `n`-th call from now (1 = the next) and the `times - 1` after it fail with `errno_value`.
  /// 0: none.
  static void fail_at(std::uint64_t n, int errno_value, std::uint64_t times = 1) noexcept {
    state().countdown = 0;
    state().errno_value = errno_value;
    state().fired = 0;
    state().until = times;
    state().countdown = n == 0 ? 0 : n + times - 1;
  }
  /// The `n`-th call from now fails as well, with the same errno, wherever that is: mostly in a
  /// rollback. 0: none.
  static void also_fail_at(std::uint64_t n) noexcept { state().second_countdown = n; }
  /// Calls since the last `reset`; failed ones too, `close` and `munmap` only if they count.
  [[nodiscard]] static std::uint64_t calls() noexcept { return state().calls; }
  /// The calls of one kind since the last `reset`, whether they count or not.
  [[nodiscard]] static std::uint64_t calls_of(kernel_call which) noexcept {
    return state().each[static_cast<std::size_t>(which)];
  }
  /// How many failures `fail_at` has caused.
  [[nodiscard]] static std::uint64_t fired() noexcept { return state().fired; }
  /// Whether `close` and `munmap`, the calls of a rollback, count and fail too. Off after `reset`.
  static void count_cleanup(bool on) noexcept { state().cleanup = on; }
  /// Disarms every fault and clears the counters.
  static void reset() noexcept {
    state().countdown = 0;
    state().second_countdown = 0;
    state().calls = 0;
    state().fired = 0;
    state().cleanup = false;
    for (auto& count : state().each) count = 0;
  }

  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    if (const int fault = next(kernel_call::mmap)) return -fault;
    return linux_kernel::mmap(size, protection, flags, descriptor, offset);
  }
  [[nodiscard]] static answer mmap_at(std::uint64_t host, std::uint64_t size, int protection,
                                      int flags, int descriptor, std::uint64_t offset) noexcept {
    if (const int fault = next(kernel_call::mmap)) return -fault;
    return linux_kernel::mmap_at(host, size, protection, flags, descriptor, offset);
  }
  [[nodiscard]] static answer move_mapping(std::uint64_t host, std::uint64_t size,
                                           std::uint64_t to) noexcept {
    if (const int fault = next(kernel_call::move_mapping)) return -fault;
    return linux_kernel::move_mapping(host, size, to);
  }
  [[nodiscard]] static answer mprotect(std::uint64_t host, std::uint64_t size,
                                       int protection) noexcept {
    if (const int fault = next(kernel_call::mprotect)) return -fault;
    return linux_kernel::mprotect(host, size, protection);
  }
  [[nodiscard]] static answer munmap(std::uint64_t host, std::uint64_t size) noexcept {
    if (const int fault = next(kernel_call::munmap)) return -fault;
    return linux_kernel::munmap(host, size);
  }
  [[nodiscard]] static answer madvise(std::uint64_t host, std::uint64_t size, int advice) noexcept {
    if (const int fault = next(kernel_call::madvise)) return -fault;
    return linux_kernel::madvise(host, size, advice);
  }
  [[nodiscard]] static answer memfd_create(const char* name, unsigned flags) noexcept {
    if (const int fault = next(kernel_call::memfd_create)) return -fault;
    return linux_kernel::memfd_create(name, flags);
  }
  [[nodiscard]] static answer ftruncate(int descriptor, std::uint64_t size) noexcept {
    if (const int fault = next(kernel_call::ftruncate)) return -fault;
    return linux_kernel::ftruncate(descriptor, size);
  }
  [[nodiscard]] static answer fallocate(int descriptor, int mode, std::uint64_t offset,
                                        std::uint64_t size) noexcept {
    if (const int fault = next(kernel_call::fallocate)) return -fault;
    return linux_kernel::fallocate(descriptor, mode, offset, size);
  }
  [[nodiscard]] static answer fstat(int descriptor, struct stat& status) noexcept {
    if (const int fault = next(kernel_call::fstat)) return -fault;
    return linux_kernel::fstat(descriptor, status);
  }
  [[nodiscard]] static answer stat(const char* path, struct stat& status) noexcept {
    if (const int fault = next(kernel_call::stat)) return -fault;
    return linux_kernel::stat(path, status);
  }
  [[nodiscard]] static answer duplicate(int descriptor) noexcept {
    if (const int fault = next(kernel_call::duplicate)) return -fault;
    return linux_kernel::duplicate(descriptor);
  }
  [[nodiscard]] static answer descriptor_flags(int descriptor) noexcept {
    if (const int fault = next(kernel_call::descriptor_flags)) return -fault;
    return linux_kernel::descriptor_flags(descriptor);
  }
  [[nodiscard]] static answer add_seals(int descriptor, unsigned seals) noexcept {
    if (const int fault = next(kernel_call::add_seals)) return -fault;
    return linux_kernel::add_seals(descriptor, seals);
  }
  [[nodiscard]] static answer seals(int descriptor) noexcept {
    if (const int fault = next(kernel_call::seals)) return -fault;
    return linux_kernel::seals(descriptor);
  }
  /// Linux frees the descriptor even where close fails, and so does this.
  [[nodiscard]] static answer close(int descriptor) noexcept {
    const int fault = next(kernel_call::close);
    const answer real = linux_kernel::close(descriptor);
    return fault != 0 ? -fault : real;
  }
  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    if (const int fault = next(kernel_call::numbered)) return -fault;
    return linux_kernel::call(number, arguments...);
  }

  /// Counts one call. Answers the errno that it must fail with, or 0.
  [[nodiscard]] static int next(kernel_call which) noexcept {
    auto& now = state();
    ++now.each[static_cast<std::size_t>(which)];
    if ((which == kernel_call::close || which == kernel_call::munmap) && !now.cleanup) return 0;
    ++now.calls;
    const auto left = one_less(now.countdown);
    const bool first = left != 0 && left <= now.until;
    const bool second = one_less(now.second_countdown) == 1;
    if (!first && !second) return 0;
    ++now.fired;
    return now.errno_value;
  }

 private:
  /// Decrements unless 0. Answers the value before.
  static std::uint64_t one_less(std::atomic<std::uint64_t>& count) noexcept {
    auto left = count.load();
    while (left != 0 && !count.compare_exchange_weak(left, left - 1)) {}
    return left;
  }

  struct counters {
    std::atomic<std::uint64_t> countdown{0};
    std::atomic<std::uint64_t> second_countdown{0};
    std::atomic<std::uint64_t> until{1};
    std::atomic<std::uint64_t> calls{0};
    std::atomic<std::uint64_t> fired{0};
    std::atomic<int> errno_value{0};
    std::atomic<bool> cleanup{false};
    std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(kernel_call::other) + 1> each{};
  };
  static counters& state() noexcept {
    static counters the_state;
    return the_state;
  }
};

/// A fault armed for a scope; everything is reset at the end of the scope.
class [[nodiscard]] injected_fault {
 public:
  explicit injected_fault(std::uint64_t n, int errno_value, bool cleanup_too = false,
                          std::uint64_t times = 1) noexcept {
    faulty_kernel::reset();
    faulty_kernel::count_cleanup(cleanup_too);
    faulty_kernel::fail_at(n, errno_value, times);
  }
  injected_fault(injected_fault const&) = delete;
  injected_fault& operator=(injected_fault const&) = delete;
  ~injected_fault() { faulty_kernel::reset(); }

  /// Whether it has struck.
  [[nodiscard]] bool fired() const noexcept { return faulty_kernel::fired() != 0; }
};

}  // namespace tether
