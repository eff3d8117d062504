// SPDX-License-Identifier: BSL-1.0
#include <tether/core/kernel.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <type_traits>

namespace runtime_core_kernel {

using namespace tether;

TEST_CASE("the kernel answers with a value, or with the negative errno") {
  CHECK(linux_kernel::close(-1) == -EBADF);
  CHECK(linux_kernel::descriptor_flags(-1) == -EBADF);
  CHECK(linux_kernel::duplicate(-1) == -EBADF);
  CHECK(linux_kernel::mmap(0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -EINVAL);
  CHECK(linux_kernel::madvise(1, 4096, MADV_DONTNEED) == -EINVAL);
  CHECK(linux_kernel::call(SYS_close, -1) == -EBADF);
  CHECK(linux_kernel::call(SYS_getpid) == ::getpid());
}

TEST_CASE("memory from the kernel seam is memory, and goes again") {
  const std::uint64_t page = linux_kernel::page_size();
  REQUIRE(std::has_single_bit(page));
  const auto at =
      linux_kernel::mmap(2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at > 0);
  auto* const bytes = reinterpret_cast<unsigned char*>(static_cast<std::uintptr_t>(at));
  std::memset(bytes, 0x5a, 2 * page);
  CHECK(linux_kernel::madvise(static_cast<std::uint64_t>(at), page, MADV_DONTNEED) == 0);
  CHECK(bytes[0] == 0);
  CHECK(bytes[page] == 0x5a);
  CHECK(linux_kernel::munmap(static_cast<std::uint64_t>(at), 2 * page) == 0);
}

TEST_CASE("a file in memory is as large as it was made, and a hole punched into it reads as zero") {
  const std::uint64_t page = linux_kernel::page_size();
  const auto descriptor = static_cast<int>(linux_kernel::memfd_create("tether-test", MFD_CLOEXEC));
  REQUIRE(descriptor >= 0);
  REQUIRE(linux_kernel::ftruncate(descriptor, 4 * page) == 0);
  const auto other = static_cast<int>(linux_kernel::duplicate(descriptor));
  REQUIRE(other >= 0);
  CHECK(other != descriptor);
  CHECK((linux_kernel::descriptor_flags(other) & O_ACCMODE) == O_RDWR);
  REQUIRE(::pwrite(descriptor, "a", 1, static_cast<off_t>(page)) == 1);
  CHECK(linux_kernel::fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page, page) ==
        0);
  char read = 'x';
  CHECK(::pread(descriptor, &read, 1, static_cast<off_t>(page)) == 1);
  CHECK(read == '\0');
  struct stat status{};
  CHECK(linux_kernel::fstat(other, status) == 0);
  CHECK(static_cast<std::uint64_t>(status.st_size) == 4 * page);
  CHECK(linux_kernel::stat("/dev/null", status) == 0);
  CHECK(S_ISCHR(status.st_mode));
  CHECK(linux_kernel::stat("/nonexistent", status) == -ENOENT);
  CHECK(linux_kernel::close(other) == 0);
  CHECK(linux_kernel::close(descriptor) == 0);
}

namespace {
struct another_kernel : linux_kernel {};
struct backend_on_linux {};
struct backend_on_another {
  using kernel_type = another_kernel;
};
static_assert(std::is_same_v<kernel_of<backend_on_linux>, linux_kernel>);
static_assert(std::is_same_v<kernel_of<backend_on_another>, another_kernel>);
}  // namespace

}  // namespace runtime_core_kernel
