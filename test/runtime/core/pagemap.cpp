// SPDX-License-Identifier: BSL-1.0
#include <tether/core/pagemap.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/faulty_kernel.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace runtime_core_pagemap {

using namespace tether;
using tether_test::host_memory;
using tether_test::host_page;
using tether_test::must;

namespace {

std::vector<page_frame> frames_of(host_address from, std::uint64_t pages, bool touch) {
  const auto list = must(page_frames<>::open());
  std::vector<page_frame> all(pages);
  must(list.look(from, pages, touch, [&](std::uint64_t at, page_frame frame) { all[at] = frame; }));
  return all;
}

}  // namespace

TEST_CASE("a page that was never touched is not there, and looking does not bring it in") {
  const host_memory memory{4 * host_page()};
  memory.bytes()[0] = std::byte{1};
  for (int look = 0; look < 2; ++look) {
    const auto seen = frames_of(memory.host(), 4, false);
    CHECK(seen[0].present());
    CHECK_FALSE(seen[1].present());
  }
}

TEST_CASE("what is not in this process's tables is read first, if asked") {
  const ram_block shared =
      must(ram_block::allocate("shared", 3 * host_page(), memory_kind::shared));
  CHECK_FALSE(frames_of(shared.backing().host(), 3, false)[2].present());
  CHECK(frames_of(shared.backing().host(), 3, true)[2].present());
}

TEST_CASE("more pages than fit into one answer are all seen, once and in order") {
  const host_memory memory{1300 * host_page()};
  memory.bytes()[777 * host_page()] = std::byte{1};
  const auto list = must(page_frames<>::open());
  std::uint64_t next = 0;
  std::uint64_t there = 0;
  must(list.look(memory.host(), 1300, false, [&](std::uint64_t at, page_frame frame) {
    CHECK(at == next++);
    if (frame.present()) there += at;
  }));
  CHECK(next == 1300);
  CHECK(there == 777);
}

TEST_CASE("two pages never have the same frame, and one keeps its own while nobody takes it away") {
  const host_memory memory{2 * host_page()};
  for (std::byte& one : memory.bytes()) one = std::byte{1};
  const auto before = frames_of(memory.host(), 2, false);
  if (before[0].number() == 0)
    return tether_test::skip_because("this process may not see the numbers of frames");
  CHECK(before[0].number() != before[1].number());
  CHECK(frames_of(memory.host(), 2, false)[0].number() == before[0].number());
}

TEST_CASE("memory that is not mapped any more is seen as absent, even if it is to be read first") {
  host_address gone{};
  {
    const host_memory memory{host_page()};
    gone = memory.host();
  }
  CHECK_FALSE(frames_of(gone, 1, true)[0].present());
}

TEST_CASE("a list that cannot be opened or read is an error that names it, and is closed") {
  const auto descriptors = tether_test::descriptors();
  {
    const injected_fault refuse{1, EACCES};
    const auto list = page_frames<faulty_kernel>::open();
    REQUIRE_FALSE(list);
    CHECK(list.error().is_errno(EACCES));
    CHECK(list.error().subject() == "/proc/self/pagemap");
  }
  {
    const host_memory memory{host_page()};
    const injected_fault refuse{2, EIO};
    const auto list = must(page_frames<faulty_kernel>::open());
    const auto read = list.look(memory.host(), 1, false, [](std::uint64_t, page_frame) {});
    REQUIRE_FALSE(read);
    CHECK(read.error().is_errno(EIO));
  }
  CHECK(tether_test::descriptors() == descriptors);
}

namespace {

/// From now on the kernel answers EPERM to these system calls of this process.
bool forbid(std::initializer_list<unsigned> calls) {
  std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const unsigned call : calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog all{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) == 0;
}

/// Looks at a page of a file that only another mapping has touched, in a child where `calls` are
/// forbidden. Answers 0 absent, 1 present, 2 refused with the reason, 3 refused otherwise; 77 where
/// nothing can be forbidden.
int look_in_a_sandbox(std::initializer_list<unsigned> calls) {
  const ram_block shared = must(ram_block::allocate("shared", host_page(), memory_kind::shared));
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!forbid(calls)) ::_exit(77);
    const auto list = page_frames<>::open();
    if (!list) ::_exit(4);
    bool present = false;
    const auto looked =
        list->look(shared.backing().host(), 1, true,
                   [&](std::uint64_t, page_frame frame) { present = frame.present(); });
    if (looked) ::_exit(present ? 1 : 0);
    ::_exit(looked.error().sentence().find("a sandbox forbids") != std::string::npos ? 2 : 3);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

}  // namespace

TEST_CASE(
    "a sandbox that lets no page be touched is told, and no page is taken for one that is gone") {
  const int without_reads = look_in_a_sandbox({SYS_process_vm_readv});
  if (without_reads == 77) return tether_test::skip_because("no filter can be set here");
  CHECK(without_reads == 1);
  CHECK(look_in_a_sandbox({SYS_process_vm_readv, SYS_madvise}) == 2);
}

}  // namespace runtime_core_pagemap
