// SPDX-License-Identifier: BSL-1.0
// How memory gets into an address space: by its address, by its file, or shared with another
// container. The rest of what it does is in iommufd.cpp, where devices are.
#include <tether/backend/iommufd/ioas.hpp>

#include <support/fake_iommufd_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace runtime_backend_iommufd_ioas {

using namespace tether;
using namespace tether::detail;
using tether_test::fake_iommufd_kernel;
using tether_test::iommufd_bench;
using tether_test::must;
namespace abi = tether::detail::iommufd_uapi;

namespace {

extent<io_address> at(std::uint64_t first, std::uint64_t size) {
  return {io_address{first}, io_address{first + (size - 1)}};
}

/// A memfd of 64 KiB, mapped shared.
struct shared_memory {
  static constexpr std::uint64_t size = 64 * KiB;
  shared_memory() {
    REQUIRE(::ftruncate(descriptor.number(), static_cast<off_t>(size)) == 0);
    host = static_cast<std::byte*>(
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.number(), 0));
  }
  shared_memory(shared_memory const&) = delete;
  shared_memory& operator=(shared_memory const&) = delete;
  ~shared_memory() { ::munmap(host, size); }

  [[nodiscard]] mapping map(std::uint64_t io, std::uint64_t offset, std::uint64_t bytes) const {
    return {at(io, bytes), host_address{reinterpret_cast<std::uintptr_t>(host) + offset},
            access::read_write, memory_kind::shared};
  }
  [[nodiscard]] file_source from(std::uint64_t offset) const {
    return {descriptor.number(), offset};
  }

  kernel_descriptor<linux_kernel> descriptor{linux_kernel::memfd_create("shared", MFD_CLOEXEC)};
  std::byte* host = nullptr;
};

/// Two containers of one context, each with a device that pins.
struct pair : iommufd_bench {
  backend_type first = container();
  backend_type second = container();
  device_type one = joined(first, edu);
  device_type two = joined(second, nic);

  /// What the second container's device writes at `iova`, and whether it could.
  bool writes(std::uint64_t iova, std::byte what) {
    return machine.dma(machine.devices.at("/dev/vfio/devices/vfio1"), iova, &what, 1, true) == 0;
  }
};

}  // namespace

TEST_CASE("a second container shares what the first has pinned, and it is pinned once") {
  pair b;
  must(b.first.map(b.memory.at(0x10000, 0, 16 * KiB)));
  b.machine.requests.clear();
  must(b.second.map(b.memory.at(0x70000, 0, 16 * KiB)));
  CHECK(b.machine.requests == std::vector<unsigned long>{abi::copy.number});
  CHECK(b.machine.locked() == 16 * KiB);
  CHECK(b.writes(0x70000, std::byte{1}));
  CHECK(b.memory.bytes()[0] == std::byte{1});
  // The source goes, and what was shared stays pinned; and is a source itself.
  must(b.first.unmap(at(0x10000, 16 * KiB)));
  CHECK(b.machine.locked() == 16 * KiB);
  CHECK(b.writes(0x73fff, std::byte{2}));
  must(b.first.map(b.memory.at(0, 0, 16 * KiB)));
  CHECK(b.machine.count(abi::map.number) == 0);
  must(b.second.unmap(at(0x70000, 16 * KiB)));
  must(b.first.unmap(at(0, 16 * KiB)));
  CHECK(b.machine.locked() == 0);
}

TEST_CASE(
    "nothing is shared with fewer rights, of another size, or by a container that pins nothing") {
  pair b;
  const auto pins_anew = [&](mapping const& what) {
    b.machine.requests.clear();
    must(b.second.map(what));
    return b.machine.requests == std::vector<unsigned long>{abi::map.number};
  };
  must(b.first.map(b.memory.at(0, 0, 16 * KiB, access::read)));
  CHECK(pins_anew(b.memory.at(0, 0, 16 * KiB)));
  CHECK(pins_anew(b.memory.at(0x10000, 0, 8 * KiB, access::read)));
  must(b.first.map(b.memory.at(0x10000, 32 * KiB, 16 * KiB)));
  must(b.first.leave(b.one));
  CHECK(pins_anew(b.memory.at(0x20000, 32 * KiB, 16 * KiB)));
}

TEST_CASE("what is being unmapped is no source any more, nor what an unmap has left in doubt") {
  pair b;
  must(b.first.map(b.memory.at(0, 0, 4 * KiB)));
  must(b.first.map(b.memory.at(0x1000, 4 * KiB, 4 * KiB)));
  {
    const injected_fault fault{1, EIO};
    CHECK(b.first.unmap(at(0, 8 * KiB)).error().rollback_failed());
  }
  b.machine.requests.clear();
  must(b.second.map(b.memory.at(0, 4 * KiB, 4 * KiB)));
  CHECK(b.machine.requests == std::vector<unsigned long>{abi::map.number});
}

TEST_CASE("a share that the kernel refuses becomes a mapping, whatever the reason") {
  pair b;
  must(b.first.map(b.memory.at(0, 0, 4 * KiB)));
  for (const int why : {ENOENT, EPERM, ENOTTY, EIO}) {
    {
      const injected_fault fault{1, why};
      must(b.second.map(b.memory.at(0, 0, 4 * KiB)));
    }
    CHECK(b.machine.locked() == 8 * KiB);
    must(b.second.unmap(at(0, 4 * KiB)));
  }
  // And if that fails too, it is that which is told, and nothing is left.
  const injected_fault both{1, EIO, false, 2};
  CHECK(b.second.map(b.memory.at(0, 0, 4 * KiB)).error().is_errno(EIO));
  CHECK(b.machine.areas() == 1);
  CHECK(b.context.shared().size() == 1);
}

TEST_CASE(
    "a source that goes while it is being shared, with other memory in its place, is not taken for "
    "what it was") {
  pair b;
  must(b.first.map(b.memory.at(0x10000, 0, 4 * KiB)));
  const auto swap_it = [&] {
    must(b.first.unmap(at(0x10000, 4 * KiB)));
    must(b.first.map(b.memory.at(0x10000, 32 * KiB, 4 * KiB)));
  };
  SUBCASE("the share is rolled back, and the memory mapped") {
    b.machine.before_copy = swap_it;
    must(b.second.map(b.memory.at(0x70000, 0, 4 * KiB)));
    CHECK(b.writes(0x70000, std::byte{7}));
    CHECK(b.memory.bytes()[0] == std::byte{7});
    CHECK(b.memory.bytes()[32 * KiB] == std::byte{0});
    CHECK(b.machine.areas() == 2);
  }
  SUBCASE("a source that an unmap failed to remove is another one all the same") {
    b.machine.before_copy = [&] {
      const injected_fault fault{1, EIO};
      CHECK(!b.first.unmap(at(0x10000, 4 * KiB)));
    };
    must(b.second.map(b.memory.at(0x70000, 0, 4 * KiB)));
    CHECK(b.machine.count(abi::map.number) == 2);
    CHECK(b.writes(0x70000, std::byte{7}));
    CHECK(b.memory.bytes()[0] == std::byte{7});
  }
  SUBCASE("a share that cannot be rolled back is stuck, recorded, and nobody shares it") {
    b.machine.before_copy = [&] {
      swap_it();
      faulty_kernel::fail_at(1, EIO);
    };
    const auto stuck = b.second.map(b.memory.at(0x70000, 0, 4 * KiB));
    faulty_kernel::reset();
    REQUIRE(!stuck);
    CHECK(stuck.error().rollback_failed());
    CHECK(b.machine.areas() == 2);
    CHECK(!b.context.shared().find(99, b.memory.at(0, 0, 4 * KiB), false));
    must(b.second.unmap(at(0x70000, 4 * KiB)));
  }
}

TEST_CASE(
    "containers on other threads share, map and unmap the same memory, and each reaches exactly "
    "what it has mapped") {
  pair b;
  const auto work = [&](iommufd_bench::backend_type& iommu, std::uint64_t iova) {
    int done = 0;
    for (int round = 0; round < 200; ++round) {
      const std::uint64_t offset = static_cast<std::uint64_t>(round % 4) * 4 * KiB;
      done += iommu.map(b.memory.at(iova, offset, 4 * KiB)).has_value() ? 1 : 0;
      done += iommu.unmap(at(iova, 4 * KiB)).has_value() ? 1 : 0;
    }
    return done;
  };
  int done_there = 0;
  std::thread other{[&] { done_there = work(b.first, 0x10000); }};
  const int done_here = work(b.second, 0x10000);
  other.join();
  CHECK(done_here == 400);
  CHECK(done_there == 400);
  CHECK(b.machine.areas() == 0);
  CHECK(b.context.shared().size() == 0);
}

TEST_CASE("shared memory is mapped by its file, so that the file's own pages are reached") {
  pair b;
  const shared_memory memory;
  b.machine.requests.clear();
  must(b.second.map(memory.map(0, 8 * KiB, 8 * KiB), memory.from(8 * KiB)));
  CHECK(b.machine.requests == std::vector<unsigned long>{abi::map_file.number});
  CHECK(b.writes(5, std::byte{9}));
  CHECK(memory.host[8 * KiB + 5] == std::byte{9});
  // Another container that names the file shares it; so does one that names the address.
  b.machine.requests.clear();
  must(b.first.map(memory.map(0, 8 * KiB, 8 * KiB), memory.from(8 * KiB)));
  must(b.first.unmap(at(0, 8 * KiB)));
  must(b.first.map(memory.map(0, 8 * KiB, 8 * KiB)));
  CHECK(b.machine.count(abi::copy.number) == 2);
  // What was mapped by address is no source for a file.
  must(b.first.map(memory.map(0x10000, 0, 4 * KiB)));
  must(b.second.map(memory.map(0x10000, 0, 4 * KiB), memory.from(0)));
  CHECK(b.machine.count(abi::map_file.number) == 1);
}

TEST_CASE("a kernel that maps no files is asked once, and what no file backs never") {
  pair b;
  b.machine.maps_files = false;
  const shared_memory memory;
  CHECK(b.context.maps_files());
  b.machine.requests.clear();
  must(b.second.map(b.memory.at(0x50000, 0, 4 * KiB), memory.from(0)));  // private
  must(b.second.map(memory.map(0x60000, 32 * KiB, 4 * KiB), file_source{}));
  CHECK(b.machine.count(abi::map_file.number) == 0);
  must(b.second.map(memory.map(0, 0, 4 * KiB), memory.from(0)));
  must(b.second.map(memory.map(0x1000, 4 * KiB, 4 * KiB), memory.from(4 * KiB)));
  CHECK(b.machine.count(abi::map_file.number) == 1);
  CHECK(b.machine.count(abi::map.number) == 4);
  CHECK(!b.context.maps_files());
  CHECK(b.writes(0x1000, std::byte{3}));
  CHECK(memory.host[4 * KiB] == std::byte{3});
}

TEST_CASE(
    "a file that the kernel does not take is mapped by its address; any other refusal is told") {
  pair b;
  const shared_memory memory;
  const kernel_descriptor<linux_kernel> no_memfd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  for (const int wrong : {no_memfd.number(), 1 << 20}) {
    must(b.second.map(memory.map(0, 0, 4 * KiB), file_source{wrong, 0}));
    CHECK(b.writes(0, std::byte{4}));
    must(b.second.unmap(at(0, 4 * KiB)));
  }
  CHECK(b.context.maps_files());
  b.machine.requests.clear();
  b.machine.lockable = 0;
  const auto too_much = b.second.map(memory.map(0, 0, 4 * KiB), memory.from(0));
  REQUIRE(!too_much);
  CHECK(too_much.error().is_errno(ENOMEM));
  CHECK(b.machine.count(abi::map.number) == 0);
  b.machine.lockable = ~std::uint64_t{0};
  CHECK(b.second.map(memory.map(0xfee0'0000, 0, 4 * KiB), memory.from(0))
            .error()
            .is(errc::outside_aperture));
  CHECK(b.machine.areas() == 0);
  CHECK(b.context.shared().size() == 0);
}

}  // namespace runtime_backend_iommufd_ioas
