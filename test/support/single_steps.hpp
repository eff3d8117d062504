// SPDX-License-Identifier: BSL-1.0
// How many instructions something takes, counted one by one by a tracing parent: the same on every
// machine, whatever else runs. For tests of what a thing costs, which must not time it.
#pragma once

#include <csignal>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tether_test {

/// Runs both in a child process and counts the instructions of `counted`, to `most` at most.
/// Nullopt where tracing is forbidden. Fails: throws if the child ends in the midst of it. Cost: up
/// to 50 microseconds for each instruction, so count thousands and not millions.
template <class Prepare, class Counted>
[[nodiscard]] std::optional<std::uint64_t> instructions_of(Prepare prepare, Counted counted,
                                                           std::uint64_t most) {
  constexpr int not_traced = 77;
  const pid_t child = ::fork();
  if (child < 0) return std::nullopt;
  if (child == 0) {
    prepare();
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(not_traced);
    std::raise(SIGSTOP);
    counted();
    std::raise(SIGSTOP);
    ::_exit(0);
  }
  std::optional<std::uint64_t> steps;
  int status = 0;
  if (::waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP) {
    std::uint64_t so_far = 0;
    while (::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0 &&
           ::waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
      if (WSTOPSIG(status) == SIGSTOP || so_far == most) {
        steps = so_far;
        break;
      }
      ++so_far;
    }
  }
  if (!WIFEXITED(status) && !WIFSIGNALED(status)) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
  }
  const bool forbidden = WIFEXITED(status) && WEXITSTATUS(status) == not_traced;
  if (!steps && !forbidden) throw std::runtime_error{"the child that is counted has ended"};
  return steps;
}

}  // namespace tether_test
