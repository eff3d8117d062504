// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/received_file.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/faulty_kernel.hpp>
#include <support/must.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace runtime_topology_detail_received_file {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

const std::uint64_t page = linux_kernel::page_size();

/// A descriptor that closes itself.
struct file {
  int descriptor;
  explicit file(int opened) : descriptor{opened} { REQUIRE(opened >= 0); }
  file(file const&) = delete;
  file& operator=(file const&) = delete;
  ~file() { ::close(descriptor); }
};

file memfd(std::uint64_t size) {
  const auto opened =
      static_cast<int>(linux_kernel::memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(linux_kernel::ftruncate(opened, size) == 0);
  return file{opened};
}

}  // namespace

TEST_CASE("an accepted file is known by its inode, its size and its unit of discard") {
  const file source = memfd(3 * page);
  struct stat status{};
  REQUIRE(::fstat(source.descriptor, &status) == 0);
  const auto found = must(received_file_check<linux_kernel>::of("receive", source.descriptor, 0));
  CHECK(found.device == status.st_dev);
  CHECK(found.inode == status.st_ino);
  CHECK(found.size == 3 * page);
  CHECK(found.page_size == page);
  CHECK_FALSE(found.is_hugetlb);
  const auto opened = linux_kernel::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
  if (opened < 0) return tether_test::skip_because("this kernel has no hugetlbfs");
  const file huge{static_cast<int>(opened)};
  const auto large = must(received_file_check<linux_kernel>::of("receive", huge.descriptor, 0));
  CHECK(large.is_hugetlb);
  CHECK(large.page_size > page);
}

TEST_CASE("whichever system call fails, its errno is the answer") {
  const file source = memfd(page);
  std::uint64_t n = 1;
  for (;; ++n) {
    const injected_fault fault{n, EPERM};
    const auto found = received_file_check<faulty_kernel>::of("receive", source.descriptor, 0);
    if (!fault.fired()) {
      CHECK(found);
      break;
    }
    REQUIRE_FALSE(found);
    CHECK(found.error().is_errno(EPERM));
  }
  CHECK(n == 5);  // fstat, flags, fstatfs, seals
}

TEST_CASE("a file on a disk is refused: its pages cannot be given back to the host") {
  char path[] = "/var/tmp/tether-XXXXXX";
  const file disk{::mkostemp(path, O_CLOEXEC)};
  ::unlink(path);
  REQUIRE(linux_kernel::ftruncate(disk.descriptor, 4 * page) == 0);
  struct statfs system{};
  REQUIRE(::fstatfs(disk.descriptor, &system) == 0);
  if (static_cast<std::uint64_t>(system.f_type) == detail::tmpfs_magic)
    return tether_test::skip_because("/var/tmp is a tmpfs here");
  const auto refused = ram_block::from_descriptor("ram", disk.descriptor, 0, 4 * page);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::bad_descriptor));
}

TEST_CASE("a seal that is asked for must be there, else the sentence says which is missing") {
  const file source = memfd(4 * page);
  const auto with = [&](unsigned seals) {
    return ram_block::from_descriptor("ram", source.descriptor, 0, page, {.seals = seals});
  };
  CHECK(must(must(with(0)).seals()) == 0);
  const auto missing = [&](unsigned seals, const char* name) {
    const auto refused = with(seals);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::bad_descriptor));
    CHECK(refused.error().subject() == "ram");
    CHECK_MESSAGE(refused.error().sentence().find(name) != std::string::npos,
                  refused.error().sentence());
  };
  missing(F_SEAL_SHRINK, "F_SEAL_SHRINK is missing");
  missing(F_SEAL_SHRINK | F_SEAL_SEAL, "F_SEAL_SHRINK is missing");
  REQUIRE(linux_kernel::add_seals(source.descriptor, F_SEAL_SHRINK) == 0);
  CHECK(must(must(with(F_SEAL_SHRINK)).seals()) == F_SEAL_SHRINK);
  missing(F_SEAL_SHRINK | F_SEAL_GROW, "F_SEAL_GROW is missing");
  missing(F_SEAL_SEAL, "F_SEAL_SEAL is missing");
  missing(0x20, "the seals 32");
  REQUIRE(linux_kernel::add_seals(source.descriptor, F_SEAL_SEAL) == 0);
  const auto sealed = must(with(F_SEAL_SHRINK | F_SEAL_SEAL));
  CHECK(sealed.data()[0] == std::byte{0});
}

}  // namespace runtime_topology_detail_received_file
