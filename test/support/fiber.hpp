// SPDX-License-Identifier: BSL-1.0
// Several stacks on one thread, switched explicitly: for tests that decide which "thread" runs
// when. The sanitizers are told of every switch, or they would take one stack for another.
#pragma once

#include <support/amount.hpp>

#include <cstddef>
#include <memory>
#include <ucontext.h>

#if defined(TETHER_TEST_UNDER_TSAN) || defined(__SANITIZE_THREAD__)
#define TETHER_TEST_FIBERS_FOR_TSAN 1
#include <sanitizer/tsan_interface.h>
#elif defined(TETHER_TEST_UNDER_ASAN) || defined(__SANITIZE_ADDRESS__)
#define TETHER_TEST_FIBERS_FOR_ASAN 1
#include <sanitizer/common_interface_defs.h>
#endif

namespace tether_test {

/// One stack. A default-constructed one is the stack that the thread already runs on.
/// Requires: everything on one thread; a fiber is destroyed while it is suspended, with nothing on
/// its stack that must be destroyed.
class fiber {
 public:
  fiber() noexcept {
#ifdef TETHER_TEST_FIBERS_FOR_TSAN
    tsan_ = __tsan_get_current_fiber();
#endif
  }
  /// `entry` never returns. It runs when the fiber is first switched to, which must be from the
  /// thread's own stack.
  explicit fiber(void (*entry)())
      : stack_{std::make_unique<std::byte[]>(stack_bytes)}, entry_{entry} {
#ifdef TETHER_TEST_FIBERS_FOR_TSAN
    tsan_ = __tsan_create_fiber(0);
#endif
    ::getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = stack_bytes;
    context_.uc_link = nullptr;
    ::makecontext(&context_, &fiber::begin, 0);
  }
  fiber(fiber const&) = delete;
  fiber& operator=(fiber const&) = delete;
  ~fiber() {
#ifdef TETHER_TEST_FIBERS_FOR_TSAN
    if (stack_) __tsan_destroy_fiber(tsan_);
#endif
  }

  /// Suspends this fiber, which must be the running one, and resumes `to`. Returns when this one is
  /// resumed.
  void switch_to(fiber& to) noexcept {
    going_to() = &to;
#ifdef TETHER_TEST_FIBERS_FOR_TSAN
    __tsan_switch_to_fiber(to.tsan_, 0);
#endif
#ifdef TETHER_TEST_FIBERS_FOR_ASAN
    if (to.stack_) __sanitizer_start_switch_fiber(&fake_stack_, to.stack_.get(), stack_bytes);
    else __sanitizer_start_switch_fiber(&fake_stack_, bottom_of_thread(), size_of_thread());
#endif
    ::swapcontext(&context_, &to.context_);
#ifdef TETHER_TEST_FIBERS_FOR_ASAN
    __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
  }

 private:
  /// Large, because the address sanitizer's frames are.
  static constexpr std::size_t stack_bytes = 256 * 1024;

  static void begin() {
#ifdef TETHER_TEST_FIBERS_FOR_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &bottom_of_thread(), &size_of_thread());
#endif
    going_to()->entry_();
  }
  static fiber*& going_to() noexcept {
    static fiber* one = nullptr;
    return one;
  }
#ifdef TETHER_TEST_FIBERS_FOR_ASAN
  static void const*& bottom_of_thread() noexcept {
    static void const* bottom = nullptr;
    return bottom;
  }
  static std::size_t& size_of_thread() noexcept {
    static std::size_t size = 0;
    return size;
  }
  void* fake_stack_ = nullptr;
#endif
#ifdef TETHER_TEST_FIBERS_FOR_TSAN
  void* tsan_ = nullptr;
#endif
  std::unique_ptr<std::byte[]> stack_;
  void (*entry_)() = nullptr;
  ucontext_t context_{};
};

}  // namespace tether_test
