// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/range_advice.hpp>

#include <support/guest_ram.hpp>
#include <support/range_kernel.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace runtime_topology_detail_range_advice {

using namespace tether;
using tether::detail::range_advice;
using tether_test::frame;
using tether_test::range_kernel;
using tether_test::takes_ranges;

namespace {

/// Four pages of private memory, all written.
struct four_pages {
  char* at = static_cast<char*>(
      ::mmap(nullptr, 4 * frame, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::array<iovec, 2> first_and_third{{{at, frame}, {at + 2 * frame, frame}}};

  four_pages() {
    REQUIRE(at != MAP_FAILED);
    for (std::uint64_t page = 0; page != 4; ++page) at[page * frame] = 1;
  }
  four_pages(four_pages const&) = delete;
  four_pages& operator=(four_pages const&) = delete;
  ~four_pages() { ::munmap(at, 4 * frame); }

  [[nodiscard]] int left() const {
    return 1000 * at[0] + 100 * at[frame] + 10 * at[2 * frame] + at[3 * frame];
  }
};

/// From now on process_madvise answers EPERM, in this thread and all that it makes.
bool deny_process_madvise() {
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_madvise, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{program.size(), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

}  // namespace

TEST_CASE("ranges go, and nothing else; the answer is their bytes") {
  const four_pages memory;
  takes_ranges::reset();
  CHECK(range_advice<takes_ranges>::drop(memory.first_and_third.data(), 2) == 2 * frame);
  CHECK(memory.left() == 101);
  CHECK(takes_ranges::vectored == 1);
}

TEST_CASE("Linux itself drops both or denies it, and once it has denied it is not asked") {
  const four_pages memory;
  range_advice<linux_kernel>::forget();
  const auto answer = range_advice<linux_kernel>::drop(memory.first_and_third.data(), 2);
  CAPTURE(answer);
  if (answer == static_cast<std::int64_t>(2 * frame)) {
    CHECK(memory.left() == 101);
  } else {
    CHECK((answer == -ENOSYS || answer == -EBADF || answer == -EPERM || answer == -EACCES));
    CHECK(range_advice<linux_kernel>::drop(memory.first_and_third.data(), 2) == 0);
    CHECK(memory.left() == 1111);
  }
}

TEST_CASE("a signal that interrupts it is no answer; a range that fails is, and denies nothing") {
  const four_pages memory;
  takes_ranges::reset();
  takes_ranges::interrupted = 2;
  CHECK(range_advice<takes_ranges>::drop(memory.first_and_third.data(), 2) == 2 * frame);
  CHECK(takes_ranges::vectored == 3);
  takes_ranges::failing_range = 1;
  CHECK(range_advice<takes_ranges>::drop(memory.first_and_third.data(), 2) == -EIO);
  takes_ranges::failing_range = 2;
  CHECK(range_advice<takes_ranges>::drop(memory.first_and_third.data(), 2) == frame);
  takes_ranges::failing_range = 0;
  CHECK(range_advice<takes_ranges>::drop(memory.first_and_third.data(), 2) == 2 * frame);
}

TEST_CASE_TEMPLATE("what denies it is asked once", Kernel, range_kernel<ENOSYS>,
                   range_kernel<EBADF>, range_kernel<EPERM>, range_kernel<EACCES>) {
  Kernel::reset();
  CHECK(range_advice<Kernel>::drop(nullptr, 0) < 0);
  for (int again = 0; again != 3; ++again) CHECK(range_advice<Kernel>::drop(nullptr, 0) == 0);
  CHECK(Kernel::vectored == 1);
}

TEST_CASE("a sandbox that comes later is found out, and nothing was dropped by halves") {
  const four_pages memory;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    range_advice<linux_kernel>::forget();
    if (!deny_process_madvise()) ::_exit(77);
    const auto first = range_advice<linux_kernel>::drop(memory.first_and_third.data(), 2);
    const auto second = range_advice<linux_kernel>::drop(memory.first_and_third.data(), 2);
    ::_exit(first == -EPERM && second == 0 && memory.left() == 1111 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77));
}

}  // namespace runtime_topology_detail_range_advice
