// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/mapped_memory.hpp>

#include <support/faulty_kernel.hpp>
#include <support/larger_pool.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace runtime_topology_detail_mapped_memory {

using namespace tether;
using namespace tether::detail;
using detail::map_entry;
using detail::mapped_as;
using tether_test::must;

namespace {

const std::uint64_t page = linux_kernel::page_size();

/// A map of four pages that goes with its scope.
struct area {
  void* at;
  area(int protection, int flags, int descriptor = -1)
      : at{::mmap(nullptr, 4 * page, protection, flags, descriptor, 0)} {
    REQUIRE(at != MAP_FAILED);
  }
  area(area const&) = delete;
  area& operator=(area const&) = delete;
  ~area() { ::munmap(at, 4 * page); }
  [[nodiscard]] extent<host_address> pages(std::uint64_t first, std::uint64_t count) const {
    return extent<host_address>::of(
               host_address{reinterpret_cast<std::uintptr_t>(at) + first * page}, count * page)
        .value();
  }
  void replace(std::uint64_t first, std::uint64_t count, int flags, int descriptor = -1) const {
    auto* const there = static_cast<std::byte*>(at) + first * page;
    REQUIRE(::mmap(there, count * page, PROT_READ | PROT_WRITE, flags | MAP_FIXED, descriptor, 0) ==
            there);
  }
};

struct file {
  int descriptor;
  explicit file(int opened) : descriptor{opened} { REQUIRE(opened >= 0); }
  file(file const&) = delete;
  file& operator=(file const&) = delete;
  ~file() { ::close(descriptor); }
};
file memfd() {
  const file made{static_cast<int>(linux_kernel::memfd_create("file", MFD_CLOEXEC))};
  REQUIRE(linux_kernel::ftruncate(made.descriptor, 4 * page) == 0);
  return file{::dup(made.descriptor)};
}
file on_disk() {
  char path[] = "/var/tmp/tether-XXXXXX";
  const file made{::mkostemp(path, O_CLOEXEC)};
  ::unlink(path);
  REQUIRE(linux_kernel::ftruncate(made.descriptor, 4 * page) == 0);
  return file{::dup(made.descriptor)};
}

detail::mapped_memory look(extent<host_address> where) {
  return must(detail::mapped_memory_lookup<linux_kernel>::of("look", where));
}

constexpr int read_write = PROT_READ | PROT_WRITE;

}  // namespace

TEST_CASE("a line of the kernel's list is read, and nothing else is taken for one") {
  map_entry one;
  REQUIRE(
      map_entry::read("7f3c8a000000-7f3c8a021000 rw-s 00001000 00:01 1027                       "
                      "/memfd:ram (deleted)",
                      one));
  CHECK(one.first == 0x7f3c8a000000);
  CHECK(one.end == 0x7f3c8a021000);
  CHECK(one.protection == read_write);
  CHECK(one.is_shared);
  CHECK(one.major == 0);
  CHECK(one.inode == 1027);
  CHECK(one.path == "/memfd:ram (deleted)");
  REQUIRE(
      map_entry::read("560f327e1000-560f327e3000 r-xp 00000000 fe:10 247134 /usr/bin/cat", one));
  CHECK(one.protection == (PROT_READ | PROT_EXEC));
  CHECK_FALSE(one.is_shared);
  CHECK(one.major == 0xfe);
  REQUIRE(map_entry::read("7ffc1000-7ffc2000 ---p 00000000 00:00 0 ", one));
  CHECK(one.protection == PROT_NONE);
  CHECK(one.inode == 0);
  CHECK(one.path.empty());
  for (const char* not_one :
       {"", "Size:                  4 kB", "VmFlags: rd wr mr mw me ac sd", "7f3c8a000000",
        "7f3c8a000000-7f3c8a021000", "7f-8f rw", "7f-8f rw-s 0 00:01", "7f-8f rw-s 0 00:01 x"}) {
    CAPTURE(not_one);
    CHECK_FALSE(map_entry::read(not_one, one));
  }
}

TEST_CASE("memory is what it was mapped as") {
  const file source = memfd();
  const file disk = on_disk();
  const area anonymous{read_write, MAP_PRIVATE | MAP_ANONYMOUS};
  CHECK(look(anonymous.pages(0, 4)).what == mapped_as::private_anonymous);
  CHECK(look(anonymous.pages(1, 2)).what == mapped_as::private_anonymous);
  CHECK(look(area{read_write, MAP_PRIVATE, source.descriptor}.pages(0, 4)).what ==
        mapped_as::private_file);
  CHECK(look(area{read_write, MAP_PRIVATE, disk.descriptor}.pages(0, 4)).what ==
        mapped_as::private_file);
  CHECK(look(area{read_write, MAP_SHARED, source.descriptor}.pages(0, 4)).what ==
        mapped_as::shared);
  CHECK(look(area{read_write, MAP_SHARED, disk.descriptor}.pages(0, 4)).what == mapped_as::shared);
  CHECK(look(area{read_write, MAP_SHARED | MAP_ANONYMOUS}.pages(0, 4)).what == mapped_as::shared);
  const file zero{::open("/dev/zero", O_RDWR | O_CLOEXEC)};
  CHECK(look(area{read_write, MAP_PRIVATE, zero.descriptor}.pages(0, 4)).what ==
        mapped_as::private_anonymous);
  CHECK(look(area{PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS}.pages(0, 4)).protection == PROT_READ);
}

TEST_CASE("memory of several mappings is one kind, or mixed, or not all there") {
  const file source = memfd();
  const area parts{read_write, MAP_PRIVATE | MAP_ANONYMOUS};
  parts.replace(1, 1, MAP_PRIVATE, source.descriptor);
  const auto both = look(parts.pages(0, 4));
  CHECK(both.what == mapped_as::private_file);
  CHECK(both.one_protection);
  CHECK(look(parts.pages(2, 2)).what == mapped_as::private_anonymous);
  REQUIRE(::mprotect(static_cast<std::byte*>(parts.at) + 2 * page, page, PROT_READ) == 0);
  CHECK_FALSE(look(parts.pages(0, 4)).one_protection);
  parts.replace(3, 1, MAP_SHARED, source.descriptor);
  CHECK(look(parts.pages(0, 4)).what == mapped_as::mixed);
  CHECK(look(parts.pages(3, 1)).what == mapped_as::shared);
  ::munmap(static_cast<std::byte*>(parts.at) + page, page);
  CHECK(look(parts.pages(0, 4)).what == mapped_as::nothing);
  CHECK(look(parts.pages(0, 2)).what == mapped_as::nothing);
  CHECK(look(parts.pages(1, 1)).what == mapped_as::nothing);
  CHECK(look(parts.pages(1, 2)).what == mapped_as::nothing);
  CHECK(look(parts.pages(2, 1)).what == mapped_as::private_anonymous);
}

TEST_CASE("huge pages are known, by whichever way they come, and how large they are") {
  const tether_test::larger_pool pool{2};
  constexpr std::uint64_t huge = 2 * MiB;
  const auto kind_of = [](int flags, int descriptor) -> std::optional<detail::mapped_memory> {
    void* const at = ::mmap(nullptr, huge, read_write, flags, descriptor, 0);
    if (at == MAP_FAILED) return std::nullopt;
    const auto found = look(
        extent<host_address>::of(host_address{reinterpret_cast<std::uintptr_t>(at)}, huge).value());
    ::munmap(at, huge);
    return found;
  };
  const auto own = kind_of(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
  if (!own) return tether_test::skip_because("no huge page can be had");
  CHECK(own->what == mapped_as::huge);
  CHECK_FALSE(own->is_shared);
  CHECK(own->page_size == huge);
  const auto common = kind_of(MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1).value();
  CHECK(common.what == mapped_as::huge);
  CHECK(common.is_shared);
  const file source{
      static_cast<int>(linux_kernel::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB))};
  REQUIRE(linux_kernel::ftruncate(source.descriptor, huge) == 0);
  CHECK(kind_of(MAP_SHARED, source.descriptor).value().what == mapped_as::huge);
  CHECK(kind_of(MAP_SHARED, source.descriptor).value().page_size == huge);
  CHECK(kind_of(MAP_PRIVATE, source.descriptor).value().what == mapped_as::huge_private_file);
}

TEST_CASE("what a kernel object shows of itself is a device's memory") {
  std::array<unsigned char, 120> parameters{};  // struct io_uring_params
  const auto ring = ::syscall(SYS_io_uring_setup, 4, parameters.data());
  if (ring < 0) return tether_test::skip_because("io_uring is not to be had");
  const file closing{static_cast<int>(ring)};
  CHECK(look(area{read_write, MAP_SHARED, closing.descriptor}.pages(0, 1)).what ==
        mapped_as::device);
}

TEST_CASE("where /proc cannot be read nothing is believed, and no descriptor is left") {
  const file source = memfd();
  const area shared{read_write, MAP_SHARED, source.descriptor};
  const auto before = tether_test::descriptors();
  // maps: open, read (in parts); smaps the same.
  std::uint64_t n = 1;
  for (;; ++n) {
    const injected_fault fault{n, EIO};
    const auto refused =
        detail::mapped_memory_lookup<faulty_kernel>::of("look", shared.pages(0, 4));
    if (!fault.fired()) break;
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is_errno(EIO));
    CHECK(refused.error().sentence().find("/proc/thread-self/") != std::string::npos);
  }
  CHECK(n > 4);
  CHECK(tether_test::descriptors() == before);
}

TEST_CASE("only what maps leaves open costs a walk of page tables") {
  const auto calls_for = [](extent<host_address> where) {
    faulty_kernel::reset();
    static_cast<void>(must(detail::mapped_memory_lookup<faulty_kernel>::of("look", where)));
    return faulty_kernel::calls_of(kernel_call::close);
  };
  const file source = memfd();
  const file disk = on_disk();
  CHECK(calls_for(area{read_write, MAP_PRIVATE | MAP_ANONYMOUS}.pages(0, 4)) == 1);
  CHECK(calls_for(area{read_write, MAP_SHARED | MAP_ANONYMOUS}.pages(0, 4)) == 1);
  CHECK(calls_for(area{read_write, MAP_PRIVATE, source.descriptor}.pages(0, 4)) == 2);
  CHECK(calls_for(area{read_write, MAP_SHARED, source.descriptor}.pages(0, 4)) == 2);
}

TEST_CASE("a thread other than the first reads its own list, and lines of any length") {
  char path[] = "/var/tmp/tether-XXXXXX";
  const std::string folder = ::mkdtemp(path);
  // four characters each in the list
  const std::string name = folder + "/" + std::string(250, '\n');
  const file odd{::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  REQUIRE(linux_kernel::ftruncate(odd.descriptor, 4 * page) == 0);
  const area mapped{read_write, MAP_PRIVATE, odd.descriptor};
  ::unlink(name.c_str());
  ::rmdir(folder.c_str());
  std::thread{[&] { CHECK(look(mapped.pages(0, 4)).what == mapped_as::private_file); }}.join();
}

}  // namespace runtime_topology_detail_mapped_memory
