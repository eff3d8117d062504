// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/locked_memory.hpp>

#include <support/fake_vfio_kernel.hpp>
#include <support/faulty_kernel.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace runtime_core_detail_locked_memory {

using namespace tether;
using namespace tether::detail;

namespace {

/// A process with these capabilities, limit and locked memory.
struct made_up : faulty_kernel {
  static inline std::uint64_t limit = 0;
  static inline std::uint64_t locked = 0;
  static inline bool privileged = false;
  static inline bool in_first_namespace = true;
  static inline bool has_proc = true;

  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    const auto words = tether_test::in_words(arguments...);
    if (number == SYS_prlimit64) {
      *reinterpret_cast<rlimit64*>(words[3]) = {limit, limit};
      return 0;
    }
    if (number == SYS_readlinkat) {
      const std::string name = in_first_namespace ? "user:[4026531837]" : "user:[4026532837]";
      return static_cast<answer>(name.copy(reinterpret_cast<char*>(words[2]), words[3]));
    }
    if (number != SYS_openat) return faulty_kernel::call(number, arguments...);
    if (!has_proc) return -ENOENT;
    const std::string text = "VmLck:\t " + std::to_string(locked / KiB) + " kB\nVmPin:\t " +
                             std::to_string(2 * locked / KiB) + " kB\nCapEff:\t00000000" +
                             (privileged ? "00004000" : "00003fff") + "\n";
    const auto file = linux_kernel::memfd_create("status", 0);
    return ::pwrite(static_cast<int>(file), text.data(), text.size(), 0) > 0 ? file : -EIO;
  }
};

error advised(locked_by whose, std::uint64_t wanted) {
  return advise_on_locked_memory<made_up>(error::from_errno("map", ENOMEM), whose, wanted);
}

}  // namespace

TEST_CASE("the number is what is locked and what is wanted, and above the limit in any case") {
  made_up::limit = 64 * KiB;
  made_up::locked = 24 * KiB;
  CHECK(advised(locked_by::process, 100 * KiB).number() == 124);
  CHECK(advised(locked_by::process, 100 * KiB + 1).number() == 125);
  // What else this user pins is not seen; it is within the limit.
  CHECK(advised(locked_by::user, 100 * KiB).number() == 164);
  CHECK(advised(locked_by::user, 4 * KiB).number() == 68);
  made_up::limit = 0;
  CHECK(advised(locked_by::user, 4 * KiB).number() == 52);  // it was higher once
  CHECK(advised(locked_by::process, 0).number() == 24);
  made_up::locked = 0;
  CHECK(advised(locked_by::process, 0).number() == 1);
  CHECK(advised(locked_by::user, ~std::uint64_t{0}).number() == std::uint64_t{1} << 54);
}

TEST_CASE("where no limit is in force nothing is said of one") {
  made_up::limit = 64 * KiB;
  made_up::locked = 0;
  const auto said = [](locked_by whose, std::uint64_t wanted) {
    const error why = advised(whose, wanted);
    CHECK(why.is_errno(ENOMEM));
    return why.sentence();
  };
  made_up::privileged = true;
  CHECK(said(locked_by::user, 1 * MiB).find("short of memory") != std::string::npos);
  CHECK(said(locked_by::user, 1 * MiB).find("ulimit") == std::string::npos);
  CHECK(!counts_locked_memory(advised(locked_by::user, 1 * MiB)));
  made_up::in_first_namespace = false;  // the kernel does not count such a capability
  CHECK(said(locked_by::user, 1 * MiB).find("ulimit") != std::string::npos);
  CHECK(counts_locked_memory(advised(locked_by::user, 1 * MiB)));
  made_up::in_first_namespace = true;
  made_up::privileged = false;
  made_up::limit = RLIM64_INFINITY;
  CHECK(said(locked_by::user, 1 * MiB).find("short of memory") != std::string::npos);
  made_up::limit = 64 * KiB;
  CHECK(said(locked_by::process, 60 * KiB).find("short of memory") != std::string::npos);
  CHECK(said(locked_by::process, 68 * KiB).find("ulimit") != std::string::npos);
}

TEST_CASE("without /proc the limit alone is known, and the number is still above it") {
  made_up::has_proc = false;
  made_up::limit = 64 * KiB;
  made_up::locked = 24 * KiB;
  CHECK(advised(locked_by::process, 100 * KiB).number() == 100);
  CHECK(advised(locked_by::user, 100 * KiB).number() == 164);
  made_up::has_proc = true;
}

TEST_CASE(
    "what the kernel says of this process is read as it is: what mlock has locked, the limit") {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit limit{1 * MiB, 1 * MiB};
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) ::_exit(1);
    if (::geteuid() == 0) {
      const auto root = read_lock_limit<linux_kernel>(locked_by::process);
      if (root.in_force && in_first_user_namespace<linux_kernel>()) ::_exit(2);
      if (::setresuid(64321, 64321, 64321) != 0) ::_exit(3);
    }
    const auto before = read_lock_limit<linux_kernel>(locked_by::process);
    void* const at =
        ::mmap(nullptr, 64 * KiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (::syscall(SYS_mlock, at, 64 * KiB) != 0) ::_exit(4);  // a sanitizer would lock nothing
    const auto after = read_lock_limit<linux_kernel>(locked_by::process);
    if (!after.in_force || after.bytes != 1 * MiB || after.held != before.held + 64 * KiB)
      ::_exit(5);
    ::_exit(read_lock_limit<linux_kernel>(locked_by::user).held == 0 ? 0 : 6);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace runtime_core_detail_locked_memory
