// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/process_id.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <array>
#include <barrier>
#include <csignal>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace runtime_core_detail_process_id {

using namespace tether::detail;

TEST_CASE("it is the process's own number, in a child of a fork, and in a child of that") {
  CHECK(process_id() == ::getpid());
  CHECK(process_id() == ::getpid());
  CHECK(tether_test::in_a_child([] {
          if (process_id() != ::getpid()) return 1;
          const pid_t child = ::fork();
          if (child == 0) ::_exit(process_id() == ::getpid() ? 0 : 1);
          int status = -1;
          ::waitpid(child, &status, 0);
          return status == 0 && process_id() == ::getpid() ? 0 : 1;
        }).exit_code == 0);
  CHECK(process_id() == ::getpid());
}

TEST_CASE("nor is a child that no library was told of taken for its parent") {
  CHECK(process_id() == ::getpid());
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (child == 0) ::_exit(process_id() == ::syscall(SYS_getpid) ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("many threads that ask first in a child agree") {
  CHECK(tether_test::in_a_child([] {
          std::array<pid_t, 8> answers{};
          std::array<std::thread, 8> threads;
          std::barrier together{8};
          for (unsigned i = 0; i != threads.size(); ++i) {
            threads[i] = std::thread{[&, i] {
              together.arrive_and_wait();
              answers[i] = process_id();
            }};
          }
          for (auto& one : threads) one.join();
          for (const pid_t one : answers)
            if (one != ::getpid()) return 1;
          return 0;
        }).exit_code == 0);
}

TEST_CASE("this kernel empties the page, so no second question is a system call") {
  REQUIRE(process_id_page_is_made);
  CHECK(process_id() == *process_id_page);
  CHECK(tether_test::in_a_child([] {
          const bool emptied = *process_id_page == 0;
          return emptied && process_id() == *process_id_page ? 0 : 1;
        }).exit_code == 0);
}

TEST_CASE("where the kernel empties no page, it is asked each time") {
  CHECK(tether_test::in_a_child([] {
          process_id_page = &no_process_id_page;
          if (process_id() != ::getpid() || no_process_id_page != 0) return 1;
          const pid_t child = ::fork();
          if (child == 0) ::_exit(process_id() == ::getpid() ? 0 : 1);
          int status = -1;
          ::waitpid(child, &status, 0);
          return status == 0 ? 0 : 2;
        }).exit_code == 0);
}

}  // namespace runtime_core_detail_process_id
