// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/memory_state.hpp>

#include <tether/backend/software_iommu.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>
#include <support/range_kernel.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace runtime_topology_detail_memory_state {

using namespace tether;
using namespace tether::detail;
using tether_test::must;
using tether_test::takes_ranges;

namespace {

// Asked of the kernel itself: the sanitizers make `mlock` do nothing.
long lock_pages(void* from, std::size_t bytes) { return ::syscall(SYS_mlock, from, bytes); }
long unlock_pages(void* from, std::size_t bytes) { return ::syscall(SYS_munlock, from, bytes); }

const std::uint64_t page = linux_kernel::page_size();

/// A file of a tmpfs that has room for `pages`, mounted nowhere any more. -1 if that is forbidden.
int file_of_small_tmpfs(std::uint64_t pages) {
  char folder[] = "/tmp/tether-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const std::string size = "size=" + std::to_string(pages * page);
  int file = -1;
  if (::mount("tether", folder, "tmpfs", 0, size.c_str()) == 0) {
    file = ::open((std::string{folder} + "/ram").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ::umount2(folder, MNT_DETACH);
  }
  ::rmdir(folder);
  return file;
}

/// Touches what it maps, as a pin does, and answers what the kernel does for a page that it cannot
/// have.
struct touching : software_iommu {
  [[nodiscard]] result<void> map(mapping const& what) noexcept {
    const auto size = what.where.size();
    if (linux_kernel::madvise(what.host.value, size, 23 /* MADV_POPULATE_WRITE */) < 0)
      return failure(error{"map", errc::memory_gone}.at(what.where));
    return software_iommu::map(what);
  }
};

}  // namespace

TEST_CASE("locked memory is known, and where it ends") {
  auto block = must(ram_block::allocate("ram", 8 * page));
  std::memset(block.data(), 7, 8 * page);
  const std::uint64_t host = block.host().value;
  CHECK_FALSE(any_locked<linux_kernel>(host, 8 * page));
  CHECK(locked_until<linux_kernel>(host) == 0);
  REQUIRE(lock_pages(block.data() + 2 * page, 3 * page) == 0);
  CHECK(any_locked<linux_kernel>(host, 8 * page));
  CHECK_FALSE(any_locked<linux_kernel>(host, 2 * page));
  CHECK(locked_until<linux_kernel>(host) == 0);
  CHECK(locked_until<linux_kernel>(host + 2 * page) == host + 5 * page);
  CHECK(locked_until<linux_kernel>(host + 4 * page) == host + 5 * page);
  CHECK(locked_until<linux_kernel>(host + 5 * page) == 0);
  CHECK(block.backing().locked_until(block_offset{3 * page}) == block_offset{5 * page});
  CHECK(block.backing().locked_until(block_offset{6 * page}) == block_offset{6 * page});
  CHECK(block.data()[3 * page] == std::byte{7});
}

TEST_CASE(
    "locked memory is not asked for each frame, its neighbours go, and the sentence says it") {
  auto block = must(ram_block::allocate<takes_ranges>("ram", 512 * page));
  address_space guest;
  REQUIRE(guest.place(region::ram(block), guest_address{0}));
  discard_gate<> gate;
  balloon device{guest, gate};
  std::vector<std::uint32_t> frames;
  for (std::uint32_t one = 0; one < 512; ++one) frames.push_back(one);
  struct part {
    std::uint64_t first, count, most_calls;
  };
  // All of it, a part, and a part in front of others.
  for (auto const& [first, count, most] : {part{0, 512, 2}, part{100, 50, 465}, part{0, 500, 15}}) {
    CAPTURE(count);
    std::memset(block.data(), 7, 512 * page);
    REQUIRE(lock_pages(block.data() + first * page, count * page) == 0);
    takes_ranges::reset();
    const auto told = device.inflate(frames);
    CHECK(told.adds_up());
    CHECK(told.errors == count);
    CHECK(told.discarded == 512 - count);
    CHECK(told.calls <= most);
    CHECK(takes_ranges::single + takes_ranges::vectored == told.calls);
    REQUIRE(told.first_error);
    CHECK(told.first_error->is_errno(EINVAL));
    CHECK_MESSAGE(told.first_error->sentence().find("munlock it") != std::string::npos,
                  told.first_error->sentence());
    for (std::uint64_t i = 0; i < 512; ++i) {
      const bool is_locked = i >= first && i < first + count;
      if (block.data()[i * page] != std::byte{static_cast<unsigned char>(is_locked ? 7 : 0)})
        FAIL("page ", i);
    }
    // Pages with others between them are no run: they are not asked for one by one either.
    std::vector<std::uint32_t> every_second;
    for (std::uint64_t i = first; i < first + count; i += 2)
      every_second.push_back(static_cast<std::uint32_t>(i));
    const auto apart = device.inflate(every_second);
    CHECK(apart.errors == every_second.size());
    CHECK(apart.calls == 2);  // all in one, then the first of them
    // The cure.
    REQUIRE(unlock_pages(block.data(), 512 * page) == 0);
    CHECK(device.inflate(frames).discarded == 512);
  }
}

TEST_CASE("a tmpfs that is full is not memory that is gone") {
  const int file = file_of_small_tmpfs(4);
  if (file < 0) return tether_test::skip_because("mounting is not allowed here");
  REQUIRE(::ftruncate(file, static_cast<off_t>(8 * page)) == 0);
  CHECK_FALSE(file_system_is_full<linux_kernel>(file, 8 * page));
  auto ram = must(ram_block::from_descriptor("ram", file, 0, 8 * page));
  const extent<block_offset> all{block_offset{0}, block_offset{8 * page - 1}};
  const auto full = ram.populate(all);
  REQUIRE_FALSE(full);
  CHECK_MESSAGE(full.error().is_errno(ENOSPC), full.error().sentence());
  CHECK(full.error().sentence().find("is full") != std::string::npos);
  CHECK(file_system_is_full<linux_kernel>(file, 8 * page));
  CHECK_FALSE(file_system_is_full<linux_kernel>(file, 9 * page));
  {
    touching iommu;
    std::mutex mutex;
    dma_listener<touching, whole_section, trim_edges, no_observation, std::mutex> listener{iommu,
                                                                                           mutex};
    address_space guest;
    REQUIRE(guest.place(region::ram(ram), guest_address{0}));
    const auto added = guest.add_listener(listener);
    REQUIRE_FALSE(added);
    CHECK_MESSAGE(added.error().is_errno(ENOSPC), added.error().sentence());
    CHECK(added.error().subject() == "ram");
  }
  // Shrunk is gone, full or not.
  REQUIRE(::ftruncate(file, static_cast<off_t>(2 * page)) == 0);
  const auto shrunk = ram.populate(all);
  REQUIRE_FALSE(shrunk);
  CHECK(shrunk.error().is(errc::memory_gone));
  // The cure.
  REQUIRE(::ftruncate(file, static_cast<off_t>(8 * page)) == 0);
  REQUIRE(ram.populate({block_offset{0}, block_offset{4 * page - 1}}));
  ::close(file);
}

}  // namespace runtime_topology_detail_memory_state
