// SPDX-License-Identifier: BSL-1.0
// Runs something in a child process, and answers how that ended and what it said: an abort of the
// program, with its last message, or an orderly exit.
#pragma once

#include <array>
#include <csignal>
#include <cstdio>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <type_traits>
#include <unistd.h>

namespace tether_test {

struct ended_child {
  bool aborted = false;
  int exit_code = -1;  ///< -1: it did not exit
  std::string said{};  ///< to standard error
};

/// A child that does `act`, and exits with what that answers, or 0.
template <class Act>
[[nodiscard]] ended_child in_a_child(Act act) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return {.said = "(no pipe)"};
  std::fflush(nullptr);  // or the child might write buffered output again
  const pid_t child = ::fork();
  if (child < 0) return {.said = "(no fork)"};
  if (child == 0) {
    // doctest catches SIGABRT and would report a crashed test; a core file helps nobody.
    std::signal(SIGABRT, SIG_DFL);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::dup2(ends[1], STDERR_FILENO);
    if constexpr (std::is_void_v<decltype(act())>) {
      act();
      ::_exit(0);
    } else {
      ::_exit(act());
    }
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
  return {.aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
          .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          .said = said};
}

/// What `act` wrote to standard error before it was aborted; "(it did not abort)" where it was not.
template <class Act>
[[nodiscard]] std::string stopped_by(Act act) {
  const ended_child ended = in_a_child(act);
  return ended.aborted ? ended.said : "(it did not abort)";
}

}  // namespace tether_test
