// SPDX-License-Identifier: BSL-1.0
// Which requests something makes of the kernel by ioctl(2), in their order, told by a tracing
// parent: what a kernel is really asked, whoever asks it.
#pragma once

#include <csignal>
#include <cstdint>
#include <optional>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <type_traits>
#include <unistd.h>
#include <vector>

namespace tether_test {

/// Runs both in a child process, and answers the requests of `watched`. `watched` gets what
/// `prepare` answers. Nullopt: tracing is forbidden, or the child ended in the midst of it.
template <class Prepare, class Watched>
[[nodiscard]] std::optional<std::vector<std::uint64_t>> ioctls_of(Prepare prepare,
                                                                  Watched watched) {
  const pid_t child = ::fork();
  if (child < 0) return std::nullopt;
  if (child == 0) {
    auto with = prepare();
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
    std::raise(SIGSTOP);
    watched(with);
    std::raise(SIGSTOP);
    ::_exit(0);
  }
  constexpr int at_a_call = SIGTRAP | 0x80;  // as PTRACE_O_TRACESYSGOOD marks it
  std::optional<std::vector<std::uint64_t>> requests;
  std::vector<std::uint64_t> so_far;
  int status = 0;
  if (::waitpid(child, &status, 0) == child && WIFSTOPPED(status) &&
      ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD) == 0) {
    while (::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr) == 0 &&
           ::waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
      if (WSTOPSIG(status) != at_a_call) {
        if (WSTOPSIG(status) == SIGSTOP) requests = so_far;
        break;
      }
      __ptrace_syscall_info info{};
      if (::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info) > 0 &&
          info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_ioctl)
        so_far.push_back(info.entry.args[1]);
    }
  }
  if (!WIFEXITED(status) && !WIFSIGNALED(status)) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
  }
  return requests;
}

}  // namespace tether_test
