// SPDX-License-Identifier: BSL-1.0
// What is said on standard error although the program goes on: that something stays in the kernel
// which only the end of the process takes back. It is no error of a call, so no result tells it.
#pragma once

#include <atomic>
#include <cstdio>
#include <sys/types.h>
#include <unistd.h>

namespace tether::detail {

/// Prints `sentence`, unless this process, not its parent, has said something this way before.
[[gnu::cold, gnu::noinline]] inline void say_once(const char* sentence) noexcept {
  static std::atomic<pid_t> said_by{0};
  if (said_by.exchange(::getpid()) == ::getpid()) return;
  std::fputs("tether: ", stderr);
  std::fputs(sentence, stderr);
  std::fputc('\n', stderr);
}

}  // namespace tether::detail
