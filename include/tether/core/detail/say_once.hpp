// SPDX-License-Identifier: BSL-1.0
// What is said on standard error although the program goes on: that something stays in the kernel
// which only the end of the process takes back. It is no error of a call, so no result tells it.
#pragma once

#include <tether/core/detail/say.hpp>

#include <atomic>
#include <string_view>
#include <sys/types.h>
#include <unistd.h>

namespace tether::detail {

/// Prints `sentence`, about `who` if that is not empty, unless this process, not its parent, has
/// said something this way before.
[[gnu::cold, gnu::noinline]] inline void say_once(const char* sentence,
                                                  std::string_view who = {}) noexcept {
  static std::atomic<pid_t> said_by{0};
  if (said_by.exchange(::getpid()) == ::getpid()) return;
  say(sentence, who);
}

}  // namespace tether::detail
