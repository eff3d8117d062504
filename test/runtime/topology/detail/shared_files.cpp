// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/shared_files.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/discard_freely.hpp>
#include <support/faulty_kernel.hpp>
#include <support/larger_pool.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/roomy_kernel.hpp>
#include <support/skip.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace runtime_topology_detail_shared_files {

using namespace tether;
using namespace tether::detail;
using tether_test::discard_freely;
using tether_test::descriptors;
using tether_test::must;

namespace {

const std::uint64_t page = linux_kernel::page_size();

struct file {
  int descriptor;
  explicit file(std::uint64_t size, unsigned flags = 0)
      : descriptor{
            static_cast<int>(linux_kernel::memfd_create("shared-files", MFD_CLOEXEC | flags))} {
    REQUIRE(descriptor >= 0);
    resize(size);
  }
  file(file const&) = delete;
  file& operator=(file const&) = delete;
  ~file() { ::close(descriptor); }
  void resize(std::uint64_t size) const { REQUIRE(linux_kernel::ftruncate(descriptor, size) == 0); }
  template <class Kernel = linux_kernel>
  [[nodiscard]] ram_block window(std::uint64_t offset, std::uint64_t size) const {
    return must(ram_block::from_descriptor<Kernel>("window", descriptor, offset, size));
  }
};

/// The process's mappings of the files of this test: how many lines, and how many bytes of them may
/// be touched.
struct mapped {
  std::uint64_t lines = 0;
  std::uint64_t bytes = 0;
  std::uint64_t open_bytes = 0;
};
mapped mapped_now() {
  std::ifstream maps{"/proc/self/maps"};
  mapped found;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:shared-files") == std::string::npos) continue;
    std::size_t used = 0;
    const std::uint64_t first = std::stoull(line, &used, 16);
    const std::uint64_t size = std::stoull(line.substr(used + 1), nullptr, 16) - first;
    ++found.lines;
    found.bytes += size;
    if (line.find(" rw-s ") != std::string::npos) found.open_bytes += size;
  }
  return found;
}

/// A kernel that has not enough address space for more than `most` at once.
struct small_kernel : linux_kernel {
  static inline std::uint64_t most = 0;
  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    return size > most ? -ENOMEM : linux_kernel::mmap(size, protection, flags, descriptor, offset);
  }
  [[nodiscard]] static answer mmap_at(std::uint64_t at, std::uint64_t size, int protection,
                                      int flags, int descriptor, std::uint64_t offset) noexcept {
    return size > most ? -ENOMEM
                       : linux_kernel::mmap_at(at, size, protection, flags, descriptor, offset);
  }
};

/// A kernel that puts nothing where it is wanted, as one from before MAP_FIXED_NOREPLACE where
/// something is there.
struct stubborn_kernel : linux_kernel {
  [[nodiscard]] static answer mmap_at(std::uint64_t, std::uint64_t size, int protection, int flags,
                                      int descriptor, std::uint64_t offset) noexcept {
    return linux_kernel::mmap(size, protection, flags & ~MAP_FIXED_NOREPLACE, descriptor, offset);
  }
};

}  // namespace

TEST_CASE("windows of one file are one memory, at the places that they have in the file") {
  const auto before = descriptors();
  {
    const file source{16 * page};
    auto low = source.window(0, 4 * page);
    const auto high = source.window(8 * page, 4 * page);
    const auto across = source.window(2 * page, 8 * page);
    CHECK(&low.backing() == &high.backing());
    CHECK(&low.backing() == &across.backing());
    CHECK(low.first() == block_offset{0});
    CHECK(high.first() == block_offset{8 * page});
    CHECK(high.host() == low.host() + 8 * page);
    CHECK(high.size() == 4 * page);
    CHECK(low.backing().size() == 16 * page);
    CHECK(high.identity().offset == 8 * page);
    CHECK(high.backing().source_at(high.first()).offset == 8 * page);
    high.data()[page] = std::byte{7};
    CHECK(across.data()[7 * page] == std::byte{7});
    // One descriptor for all, and what no window shows cannot be touched.
    CHECK(descriptors().size() == before.size() + 2);
    CHECK(mapped_now().bytes == 16 * page);
    CHECK(mapped_now().open_bytes == 12 * page);
    must(low.free());
    CHECK(across.data()[7 * page] == std::byte{7});
    CHECK(mapped_now().bytes == 16 * page);
  }
  CHECK(mapped_now().lines == 0);
  CHECK(descriptors() == before);
}

TEST_CASE("a window is discarded and populated by its own offsets, and not beyond its end") {
  const file source{8 * page};
  const auto part = source.window(4 * page, 2 * page);
  const auto all = source.window(0, 8 * page);
  for (std::uint64_t i = 0; i < 8; ++i) all.data()[i * page] = std::byte{9};
  must(discard_freely(part, {block_offset{page}, block_offset{2 * page - 1}}));
  for (std::uint64_t i = 0; i < 8; ++i)
    CHECK(all.data()[i * page] == (i == 5 ? std::byte{0} : std::byte{9}));
  CHECK(discard_freely(part, {block_offset{page}, block_offset{3 * page - 1}})
            .error()
            .is(errc::past_the_end));
  CHECK(part.populate({block_offset{0}, block_offset{2 * page}}).error().is(errc::past_the_end));
  CHECK(part.populate({block_offset{0}, block_offset{2 * page}}).error().subject() == "window");
  must(part.populate({block_offset{0}, block_offset{2 * page - 1}}));
}

TEST_CASE("a block of ours whose descriptor comes back is the same memory") {
  const auto own = must(ram_block::allocate("own", 4 * page, memory_kind::shared));
  const auto received = must(ram_block::from_descriptor(
      "received", own.backing().source_at(block_offset{0}).descriptor, page, page));
  CHECK(&received.backing() == &own.backing());
  CHECK(received.name() == "received");
  CHECK(own.name() == "own");
  CHECK_FALSE(received.identity() == own.identity());
  const auto units = must(ram_block::allocate("units", 128 * KiB, memory_kind::shared, 64 * KiB));
  const auto other = must(ram_block::from_descriptor(
      "other", units.backing().source_at(block_offset{0}).descriptor, 0, 64 * KiB));
  CHECK_FALSE(&other.backing() == &units.backing());  // discards go by other pages
}

TEST_CASE(
    "the last of a file's blocks cannot be freed while something refers to it, those before can") {
  const file source{4 * page};
  auto one = source.window(0, 2 * page);
  auto two = source.window(0, 4 * page);
  one.backing().retain();
  must(one.free());
  CHECK(two.free().error().is(errc::still_in_use));
  two.data()[0] = std::byte{1};
  two.backing().release();
  must(two.free());
  CHECK(mapped_now().lines == 0);
  CHECK(tether_test::stopped_by([&] {
          auto first = source.window(0, page);
          auto last = source.window(page, page);
          last.backing().retain();
          first = source.window(2 * page, page);
          must(first.free());
        }).find("tether[R1]") != std::string::npos);
}

TEST_CASE("a block whose munmap was refused is there again, for those who receive the file too") {
  const file source{4 * page};
  auto one = source.window<faulty_kernel>(0, 2 * page);
  {
    const injected_fault fault{1, EBUSY, true};
    CHECK(one.free().error().is_errno(EBUSY));
  }
  one.data()[0] = std::byte{5};
  const auto two = source.window<faulty_kernel>(0, page);
  CHECK(&two.backing() == &one.backing());
  must(one.free());
  CHECK(two.data()[0] == std::byte{5});
}

TEST_CASE("whatever fails while a window is added, the ones before stay, and nothing is kept") {
  const file source{16 * page};
  const auto one = source.window<faulty_kernel>(0, page);
  one.data()[0] = std::byte{3};
  const auto before = descriptors();
  std::uint64_t n = 1;
  for (;; ++n) {
    const injected_fault fault{n, EPERM};
    const auto refused =
        ram_block::from_descriptor<faulty_kernel>("more", source.descriptor, 4 * page, page);
    if (!fault.fired()) break;
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is_errno(EPERM));
    CHECK(descriptors() == before);
    CHECK(mapped_now().bytes == 16 * page);
    CHECK(one.data()[0] == std::byte{3});
  }
  CHECK(n == 7);  // duplicate, fstat, flags, fstatfs, seals, mprotect
}

TEST_CASE("the file lies on the border of a large page, so that the kernel can map large ones") {
  const file source{6 * MiB};
  const auto part = source.window(3 * MiB, 2 * MiB);
  CHECK((part.host().value & (2 * MiB - 1)) == (3 * MiB & (2 * MiB - 1)));
  CHECK(part.backing().host().aligned_to(2 * MiB));
  const auto own = must(ram_block::allocate("shared-files", 4 * MiB, memory_kind::shared));
  CHECK(own.host().aligned_to(2 * MiB));
}

TEST_CASE("a file that grew is extended where it is, as long as nothing lies behind it") {
  const file source{4 * page};
  auto one = source.window<tether_test::roomy_kernel>(0, 4 * page);
  source.resize(8 * page);
  auto two = source.window<tether_test::roomy_kernel>(2 * page, 6 * page);
  CHECK(&two.backing() == &one.backing());
  CHECK(two.host() == one.host() + 2 * page);
  CHECK(one.backing().size() == 8 * page);
  two.data()[6 * page - 1] = std::byte{1};
  must(one.free());
  must(two.free());
  CHECK(mapped_now().lines == 0);
  for (const bool by_hint : {false, true}) {
    const file other{4 * page};
    auto first = by_hint ? other.window<stubborn_kernel>(0, 4 * page) : other.window(0, 4 * page);
    // Something lies behind it, or the kernel will not put anything there.
    void* const behind =
        reinterpret_cast<void*>(static_cast<std::uintptr_t>(first.host().value + 4 * page));
    void* const lies = by_hint ? MAP_FAILED
                               : ::mmap(behind, page, PROT_READ,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    other.resize(8 * page);
    auto second = by_hint ? other.window<stubborn_kernel>(0, 8 * page) : other.window(0, 8 * page);
    CHECK_FALSE(&second.backing() == &first.backing());
    first.data()[page] = std::byte{4};
    CHECK(second.data()[page] == std::byte{4});
    // Who comes now gets the one that shows it all.
    const auto third =
        by_hint ? other.window<stubborn_kernel>(6 * page, page) : other.window(6 * page, page);
    CHECK(&third.backing() == &second.backing());
    must(first.free());
    if (lies != MAP_FAILED) ::munmap(lies, page);
  }
  CHECK(mapped_now().lines == 0);
}

TEST_CASE("where there is no room for the whole file, the window alone is mapped") {
  const auto before = descriptors();
  {
    const file source{64 * page};
    small_kernel::most = 8 * page;
    const auto one = source.window<small_kernel>(16 * page, 8 * page);
    CHECK(one.first() == block_offset{0});
    CHECK(one.backing().size() == 8 * page);
    CHECK(one.identity().offset == 16 * page);
    CHECK(one.backing().source_at(one.first()).offset == 16 * page);
    const auto inside = source.window<small_kernel>(18 * page, page);
    CHECK(&inside.backing() == &one.backing());
    CHECK(inside.host() == one.host() + 2 * page);
    CHECK(inside.identity().offset == 18 * page);
    const auto outside = source.window<small_kernel>(0, page);
    CHECK_FALSE(&outside.backing() == &one.backing());
    CHECK_FALSE(
        ram_block::from_descriptor<small_kernel>("too large", source.descriptor, 0, 16 * page));
    const file vast{1024 * 1024 * GiB};
    CHECK(vast.window(512 * GiB, page).backing().size() == page);
  }
  CHECK(mapped_now().lines == 0);
  CHECK(descriptors() == before);
}

TEST_CASE("of a file of huge pages no more are taken from the pool than the windows show") {
  const tether_test::larger_pool pool{2};
  constexpr std::uint64_t huge = 2 * MiB;
  {
    const auto made =
        static_cast<int>(linux_kernel::memfd_create("shared-files", MFD_CLOEXEC | MFD_HUGETLB));
    if (made < 0) return tether_test::skip_because("no file of huge pages can be had");
    const file source{8 * huge, MFD_HUGETLB};
    ::close(made);
    const auto before = pool.left();
    auto first = ram_block::from_descriptor("window", source.descriptor, huge, huge);
    if (!first)
      return tether_test::skip_because("no huge page can be had: " + first.error().sentence());
    CHECK(first->kind() == memory_kind::hugetlb);
    CHECK(first->page_size() == huge);
    auto second = source.window(5 * huge, huge);
    CHECK(&second.backing() == &first->backing());
    CHECK(second.host() == first->host() + 4 * huge);
    // Both pages are promised: touching them is no SIGBUS. Where the pool had no others, a third is
    // not to be had.
    CHECK(before - pool.left() == 2);
    if (pool.left() == 0)
      CHECK(ram_block::from_descriptor("window", source.descriptor, 3 * huge, huge)
                .error()
                .is_errno(ENOMEM));
    first->data()[0] = std::byte{1};
    second.data()[huge - 1] = std::byte{2};
    must(discard_freely(*first, {block_offset{0}, block_offset{huge - 1}}));
    CHECK(first->data()[0] == std::byte{0});
    CHECK(second.data()[huge - 1] == std::byte{2});
    must(second.free());
    must(first->free());
  }
  CHECK(mapped_now().lines == 0);
}

TEST_CASE(
    "threads that receive one file and free it at the same time always have the memory while they "
    "have a block") {
  const file source{64 * page};
  const auto before = descriptors();
  std::atomic<std::uint64_t> wrong{0};
  {
    std::vector<std::thread> all;
    for (std::uint64_t number = 0; number < 3; ++number) {
      all.emplace_back([&, number] {
        for (std::uint64_t i = 0; i < 3000; ++i) {
          const std::uint64_t at = (i * 7 + number) % 63;
          auto block = ram_block::from_descriptor("window", source.descriptor, at * page, page);
          if (!block) {
            wrong.fetch_add(1);
            continue;
          }
          std::atomic_ref<std::byte>{block->data()[number]}.store(static_cast<std::byte>(i),
                                                                  std::memory_order_relaxed);
          if (i % 2 == 0 && !block->free()) wrong.fetch_add(1);
        }
      });
    }
    for (auto& one : all) one.join();
  }
  CHECK(wrong == 0);
  CHECK(mapped_now().lines == 0);
  CHECK(descriptors() == before);
}

}  // namespace runtime_topology_detail_shared_files
