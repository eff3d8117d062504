// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/detail/host_memory.hpp>

#include <support/faulty_kernel.hpp>
#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace runtime_backend_detail_host_memory {

using namespace tether;
using namespace tether::detail;
using tether_test::host_memory;

namespace {

host_memory_is look(mapping const& what) { return look_at_host<linux_kernel>(what); }

}  // namespace

TEST_CASE("memory is there if all of it is mapped, across as many areas as it takes") {
  const auto page = tether_test::host_page();
  const host_memory memory{8 * page};
  CHECK(look(memory.at(0, 0, 8 * page)) == host_memory_is::there);
  REQUIRE(::mprotect(memory.bytes().data() + 2 * page, 2 * page, PROT_READ) == 0);
  CHECK(look(memory.at(0, 0, 8 * page, access::read)) == host_memory_is::there);
  CHECK(look(memory.at(0, 0, 8 * page)) == host_memory_is::read_only);
  CHECK(look(memory.at(0, 0, 2 * page)) == host_memory_is::there);
  CHECK(look(memory.at(0, 4 * page, 4 * page)) == host_memory_is::there);
  REQUIRE(::munmap(memory.bytes().data() + 5 * page, page) == 0);
  CHECK(look(memory.at(0, 4 * page, 4 * page)) == host_memory_is::absent);
  CHECK(look(memory.at(0, 5 * page, page)) == host_memory_is::absent);
  CHECK(look(memory.at(0, 4 * page, page)) == host_memory_is::there);
  CHECK(look({{io_address{0}, io_address{page - 1}}, host_address{page}}) ==
        host_memory_is::absent);
}

TEST_CASE("a memfd is memory, and a file on a disk is not, deleted or not") {
  const auto page = tether_test::host_page();
  const auto shared = [&](int file) {
    REQUIRE(::ftruncate(file, static_cast<off_t>(page)) == 0);
    void* const at = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    REQUIRE(at != MAP_FAILED);
    return mapping{{io_address{0}, io_address{page - 1}},
                   host_address{reinterpret_cast<std::uintptr_t>(at)}};
  };
  const int memory = static_cast<int>(linux_kernel::memfd_create("memory", 0));
  CHECK(look(shared(memory)) == host_memory_is::there);
  ::close(memory);
  std::string path = "/var/tmp/tether-host-memory-XXXXXX";
  const int file = ::mkstemp(path.data());
  if (file < 0) return tether_test::skip_because("there is no /var/tmp");
  const mapping on_disk = shared(file);
  const auto found = look(on_disk);
  ::unlink(path.c_str());
  ::close(file);
  if (found == host_memory_is::there)
    return tether_test::skip_because("/var/tmp is memory on this machine");
  CHECK(found == host_memory_is::on_a_disk);
  CHECK(is_on_a_disk<linux_kernel>("/etc/hostname (deleted)", 8));
  CHECK(!is_on_a_disk<linux_kernel>("/dev/shm/guest (deleted)", 0));
}

TEST_CASE("each kind of memory that is not pinned has a sentence of its own") {
  const auto page = tether_test::host_page();
  const host_memory memory{2 * page};
  const auto said = [&](mapping const& what) {
    return why_not_pinned<faulty_kernel>("map", what).sentence();
  };
  CHECK(said(memory.at(0, 0, page)).find("long enough") != std::string::npos);
  CHECK(said({{io_address{0}, io_address{page - 1}}, host_address{page}})
            .find("not all of it is mapped") != std::string::npos);
  {
    const injected_fault no_proc{1, ENOENT};
    CHECK(said(memory.at(0, 0, page)).find("not mapped at that host address, or") !=
          std::string::npos);
  }
  REQUIRE(::mprotect(memory.bytes().data(), page, PROT_READ) == 0);
  const error why = why_not_pinned<faulty_kernel>("join", memory.at(0, 0, page));
  CHECK(why.is(errc::access_denied));
  CHECK(why.has_extent());
  CHECK(why.sentence().starts_with("join at "));
}

}  // namespace runtime_backend_detail_host_memory
