// SPDX-License-Identifier: BSL-1.0
// Runs something that must abort the program, in a child process, and answers its last message.
#pragma once

#include <array>
#include <csignal>
#include <cstdio>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tether_test {

/// What `act` wrote to standard error before it was aborted; "(it did not abort)" where it was not.
template <class Act>
[[nodiscard]] std::string stopped_by(Act act) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return "(no pipe)";
  std::fflush(nullptr);  // or the child might write buffered output again
  const pid_t child = ::fork();
  if (child < 0) return "(no fork)";
  if (child == 0) {
    // doctest catches SIGABRT and would report a crashed test; a core file helps nobody.
    std::signal(SIGABRT, SIG_DFL);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::dup2(ends[1], STDERR_FILENO);
    act();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  std::array<char, 512> buffer{};
  for (;;) {
    const auto got = ::read(ends[0], buffer.data(), buffer.size());
    if (got <= 0) break;
    said.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) return "(it did not abort)";
  return said;
}

}  // namespace tether_test
