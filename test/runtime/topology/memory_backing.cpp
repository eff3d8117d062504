// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/discard_freely.hpp>
#include <support/faulty_kernel.hpp>
#include <support/larger_pool.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace runtime_topology_memory_backing {

using namespace tether;
using tether_test::discard_freely;
using tether_test::is_resident;
using tether_test::must;

namespace {

const std::uint64_t page = linux_kernel::page_size();

extent<block_offset> bytes(std::uint64_t first, std::uint64_t size) {
  return extent<block_offset>::of(block_offset{first}, size).value();
}

void fill(ram_block const& block) { std::memset(block.data(), 0x5a, block.size()); }

bool all(std::byte const* at, std::uint64_t size, unsigned char value) {
  for (std::uint64_t i = 0; i < size; ++i)
    if (at[i] != std::byte{value}) return false;
  return true;
}

bool seen_by_a_child(void const* at) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(tether_test::is_mapped(reinterpret_cast<std::uintptr_t>(at)) ? 1 : 0);
  int status = 0;
  ::waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) == 1;
}

}  // namespace

TEST_CASE("a discard of private memory gives exactly those pages back, and they read as zeros") {
  const auto block = must(ram_block::allocate("ram", 8 * page));
  fill(block);
  must(discard_freely(block, bytes(2 * page, 3 * page)));
  CHECK(is_resident(block.data() + page));
  CHECK_FALSE(is_resident(block.data() + 2 * page));
  CHECK_FALSE(is_resident(block.data() + 4 * page));
  CHECK(is_resident(block.data() + 5 * page));
  CHECK(all(block.data(), 2 * page, 0x5a));
  CHECK(all(block.data() + 2 * page, 3 * page, 0));
  CHECK(all(block.data() + 5 * page, 3 * page, 0x5a));
}

TEST_CASE("a discard of shared memory really drops the page, which MADV_DONTNEED would not") {
  const auto block = must(ram_block::allocate("shared", 4 * page, memory_kind::shared));
  fill(block);
  REQUIRE(::madvise(block.data(), page, MADV_DONTNEED) == 0);
  CHECK(all(block.data(), page, 0x5a));
  must(discard_freely(block, bytes(0, page)));
  CHECK(all(block.data(), page, 0));
  CHECK(all(block.data() + page, 3 * page, 0x5a));
}

TEST_CASE("a discard of a block in the middle of a file touches that part of the file only") {
  const auto whole = static_cast<int>(linux_kernel::memfd_create("file", 0));
  REQUIRE(linux_kernel::ftruncate(whole, 8 * page) == 0);
  {
    const auto everything = must(ram_block::from_descriptor("all", whole, 0, 8 * page));
    const auto part = must(ram_block::from_descriptor("part", whole, 4 * page, 2 * page));
    fill(everything);
    CHECK(all(part.data(), 2 * page, 0x5a));
    must(discard_freely(part, bytes(page, page)));
    CHECK(all(everything.data(), 5 * page, 0x5a));
    CHECK(all(everything.data() + 5 * page, page, 0));
    CHECK(all(everything.data() + 6 * page, 2 * page, 0x5a));
  }
  ::close(whole);
}

TEST_CASE(
    "a discard of a private file's memory brings zeros, not the file's bytes, and no fork sees the "
    "new page") {
  const auto snapshot = static_cast<int>(linux_kernel::memfd_create("snapshot", 0));
  const std::string bytes_of_file(8 * page, 'f');
  REQUIRE(::write(snapshot, bytes_of_file.data(), bytes_of_file.size()) ==
          static_cast<ssize_t>(bytes_of_file.size()));
  void* const lent = ::mmap(nullptr, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, snapshot, 0);
  REQUIRE(lent != MAP_FAILED);
  {
    const auto block = must(ram_block::borrow<faulty_kernel>(
        "snapshot", host_address{reinterpret_cast<std::uintptr_t>(lent)}, 8 * page,
        memory_kind::private_file));
    block.data()[2 * page] = std::byte{'w'};
    must(discard_freely(block, bytes(2 * page, 2 * page)));
    CHECK(all(block.data(), 2 * page, 'f'));
    CHECK_FALSE(is_resident(block.data() + 2 * page));
    CHECK(all(block.data() + 2 * page, 2 * page, 0));
    CHECK(all(block.data() + 4 * page, 4 * page, 'f'));
    // Whichever call fails, the bytes are still there.
    for (std::uint64_t n = 1;; ++n) {
      block.data()[5 * page] = std::byte{'k'};
      const auto mapped_before = tether_test::mapped_bytes();
      const injected_fault fault{n, ENOMEM};
      const auto done = discard_freely(block, bytes(4 * page, 2 * page));
      CHECK(tether_test::mapped_bytes() == mapped_before);
      if (!fault.fired()) {
        CHECK(n == 4);
        break;
      }
      CHECK(done.error().is_errno(ENOMEM));
      CHECK(block.data()[5 * page] == std::byte{'k'});
      CHECK(all(block.data() + 4 * page, page, 'f'));
    }
    CHECK(all(block.data() + 4 * page, 2 * page, 0));
    must(block.populate(bytes(0, 8 * page)));
    CHECK(all(block.data() + 6 * page, 2 * page, 'f'));
    for (std::uint64_t i = 0; i < 8; ++i) CHECK_FALSE(seen_by_a_child(block.data() + i * page));
  }
  // What is left of it can be lent again.
  const auto again =
      must(ram_block::borrow("again", host_address{reinterpret_cast<std::uintptr_t>(lent)},
                             8 * page, memory_kind::private_file));
  must(discard_freely(again, bytes(0, 8 * page)));
  CHECK(all(again.data(), 8 * page, 0));
  ::munmap(lent, 8 * page);
  ::close(snapshot);
}

TEST_CASE("a private file that the guest may only read stays so where it was discarded") {
  const auto file = static_cast<int>(linux_kernel::memfd_create("file", 0));
  REQUIRE(linux_kernel::ftruncate(file, 2 * page) == 0);
  void* const lent = ::mmap(nullptr, 2 * page, PROT_READ, MAP_PRIVATE, file, 0);
  REQUIRE(lent != MAP_FAILED);
  {
    const auto block =
        must(ram_block::borrow("rom", host_address{reinterpret_cast<std::uintptr_t>(lent)},
                               2 * page, memory_kind::private_file));
    must(discard_freely(block, bytes(0, page)));
    CHECK_FALSE(block.populate(bytes(0, page)));
  }
  ::munmap(lent, 2 * page);
  ::close(file);
}

namespace {

/// A handler of faults and removals in some memory, as post-copy has one.
struct removal_handler {
  int descriptor =
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
  int over = ::eventfd(0, EFD_CLOEXEC);

  explicit removal_handler(ram_block const& block) {
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_MISSING_SHMEM;
    uffdio_register all{};
    all.range = {block.host().value, block.size()};
    all.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (descriptor >= 0 && (::ioctl(descriptor, UFFDIO_API, &api) < 0 ||
                            ::ioctl(descriptor, UFFDIO_REGISTER, &all) < 0)) {
      ::close(descriptor);
      descriptor = -1;
    }
  }
  removal_handler(removal_handler const&) = delete;
  removal_handler& operator=(removal_handler const&) = delete;
  ~removal_handler() {
    ::close(over);
    if (descriptor >= 0) ::close(descriptor);
  }

  /// What it was told of first while `act` ran. The kernel makes a removal wait until that is read.
  template <class Act>
  std::optional<uffd_msg> told_during(Act act) {
    std::optional<uffd_msg> told;
    std::thread handler{[&] {
      pollfd both[]{{descriptor, POLLIN, 0}, {over, POLLIN, 0}};
      uffd_msg message{};
      if (::poll(both, 2, -1) > 0 && (both[0].revents & POLLIN) != 0 &&
          ::read(descriptor, &message, sizeof message) == sizeof message)
        told = message;
    }};
    act();
    ::eventfd_write(over, 1);
    handler.join();
    return told;
  }
};

}  // namespace

TEST_CASE("a handler of faults is told which shared memory was discarded") {
  const auto block = must(ram_block::allocate("shared", 8 * page, memory_kind::shared));
  fill(block);
  removal_handler handler{block};
  if (handler.descriptor < 0)
    return tether_test::skip_because("userfaultfd, or its events, are not to be had here");
  result<void> done{};
  const auto told =
      handler.told_during([&] { done = discard_freely(block, bytes(2 * page, 3 * page)); });
  CHECK(done.has_value());
  REQUIRE(told.has_value());
  CHECK(told->event == UFFD_EVENT_REMOVE);
  CHECK(told->arg.remove.start == block.host().value + 2 * page);
  CHECK(told->arg.remove.end == block.host().value + 5 * page);
}

TEST_CASE("shared memory that its mapping does not let go of is discarded all the same") {
  const auto file = static_cast<int>(linux_kernel::memfd_create("file", 0));
  REQUIRE(linux_kernel::ftruncate(file, 8 * page) >= 0);
  {
    const auto part = must(ram_block::from_descriptor("part", file, 2 * page, 2 * page));
    auto& memory = part.backing();
    void* const whole = ::mmap(nullptr, 8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    const auto* const seen = static_cast<std::byte*>(whole);
    std::memset(whole, 0x5a, 8 * page);
    // the window and what lies around it, which is not accessible
    must(discard_freely(memory, bytes(page, 4 * page)));
    CHECK(all(seen, page, 0x5a));
    CHECK(all(seen + page, 4 * page, 0));
    CHECK(all(seen + 5 * page, 3 * page, 0x5a));
    std::memset(whole, 0x5a, 8 * page);
    // locked, by the kernel itself: the sanitizers make `mlock` do nothing
    if (::syscall(SYS_mlock, part.data(), page) == 0) {
      must(discard_freely(part, bytes(0, 2 * page)));
      CHECK(all(seen + 2 * page, 2 * page, 0));
      CHECK(::syscall(SYS_munlock, part.data(), page) == 0);
    }
    ::munmap(whole, 8 * page);
  }
  ::close(file);
}

TEST_CASE("shared memory without a descriptor is really dropped too") {
  void* const lent =
      ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(lent != MAP_FAILED);
  {
    const auto block =
        must(ram_block::borrow("lent", host_address{reinterpret_cast<std::uintptr_t>(lent)},
                               2 * page, memory_kind::shared));
    fill(block);
    must(discard_freely(block, bytes(0, page)));
    CHECK(all(block.data(), page, 0));
    CHECK(all(block.data() + page, page, 0x5a));
  }
  ::munmap(lent, 2 * page);
}

TEST_CASE("a discard of huge pages goes by their size") {
  const tether_test::larger_pool pool;
  auto huge = ram_block::allocate("huge", 2 * MiB, memory_kind::hugetlb);
  if (!huge)
    return tether_test::skip_because("no huge page can be had: " + huge.error().sentence());
  CHECK(huge->page_size() > page);
  fill(*huge);
  auto part = discard_freely(*huge, bytes(0, page));
  REQUIRE_FALSE(part);
  CHECK(part.error().is(errc::not_aligned));
  CHECK(part.error().number() == huge->page_size());
  CHECK(all(huge->data(), huge->size(), 0x5a));
  must(discard_freely(*huge, bytes(0, huge->size())));
  CHECK(all(huge->data(), huge->size(), 0));
  must(huge->free());
}

TEST_CASE("a discard that is not whole pages of the block never reaches the kernel") {
  const auto block = must(ram_block::allocate<faulty_kernel>("ram", 4 * page));
  fill(block);
  faulty_kernel::reset();
  for (auto const what : {bytes(0, 100), bytes(page, 100), bytes(100, page), bytes(1, page - 1),
                          bytes(0, page + 1)}) {
    const auto refused = discard_freely(block, what);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::not_aligned));
  }
  const auto past = discard_freely(block, bytes(3 * page, 2 * page));
  REQUIRE_FALSE(past);
  CHECK(past.error().is(errc::past_the_end));
  const auto far_past = discard_freely(block, {block_offset{0}, block_offset{~std::uint64_t{0}}});
  REQUIRE_FALSE(far_past);
  CHECK(far_past.error().is(errc::past_the_end));
  for (const std::uint64_t end : {2 * page, page}) {
    const extent<block_offset> inside_out{block_offset{2 * page}, block_offset{end - 1}};
    CAPTURE(end);
    const auto refused = discard_freely(block, inside_out);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::invalid_extent));
    const auto not_there = block.populate(inside_out);
    REQUIRE_FALSE(not_there);
    CHECK(not_there.error().is(errc::invalid_extent));
  }
  CHECK(faulty_kernel::calls() == 0);
  CHECK(all(block.data(), block.size(), 0x5a));
}

TEST_CASE("a block with larger pages than the host's is discarded by its own") {
  const auto memory = must(ram_block::allocate("memory", 128 * KiB));
  const auto block = must(
      ram_block::borrow("64k", memory.host(), 128 * KiB, memory_kind::private_anonymous, 64 * KiB));
  CHECK(block.page_size() == 64 * KiB);
  fill(block);
  CHECK(discard_freely(block, bytes(0, 4 * KiB)).error().is(errc::not_aligned));
  must(discard_freely(block, bytes(64 * KiB, 64 * KiB)));
  CHECK(all(block.data(), 64 * KiB, 0x5a));
  CHECK(all(block.data() + 64 * KiB, 64 * KiB, 0));
}

TEST_CASE("a device's memory is never discarded nor populated") {
  const auto bar = must(ram_block::allocate("memory", page));
  const auto block =
      must(ram_block::borrow<faulty_kernel>("bar", bar.host(), page, memory_kind::device));
  fill(block);
  faulty_kernel::reset();
  CHECK(discard_freely(block, bytes(0, page)).error().is(errc::unsupported));
  CHECK(block.populate(bytes(0, page)).error().is(errc::unsupported));
  CHECK(faulty_kernel::calls() == 0);
  CHECK(all(block.data(), page, 0x5a));
}

TEST_CASE("populate brings pages in and keeps what they hold") {
  const auto block = must(ram_block::allocate("ram", 4 * page));
  block.data()[page] = std::byte{7};
  CHECK_FALSE(is_resident(block.data()));
  must(block.populate(bytes(10, page)));  // bytes of the first two pages
  CHECK(is_resident(block.data()));
  CHECK(is_resident(block.data() + page));
  CHECK_FALSE(is_resident(block.data() + 2 * page));
  CHECK(block.data()[page] == std::byte{7});
  CHECK(block.populate(bytes(3 * page, 2 * page)).error().is(errc::past_the_end));
}

TEST_CASE("populate writes on a kernel that has no advice for it, and keeps what the pages hold") {
  const auto block = must(ram_block::allocate<faulty_kernel>("ram", 4 * page));
  block.data()[page] = std::byte{7};
  const injected_fault old_kernel{1, EINVAL, false, 3};
  must(block.populate(bytes(0, 3 * page)));
  REQUIRE(old_kernel.fired());
  CHECK(is_resident(block.data()));
  CHECK(is_resident(block.data() + 2 * page));
  CHECK_FALSE(is_resident(block.data() + 3 * page));
  CHECK(block.data()[page] == std::byte{7});
}

TEST_CASE("memory that may not be written is not touched by populate but refused") {
  void* const lent = ::mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(lent != MAP_FAILED);
  {
    const auto block =
        must(ram_block::borrow("lent", host_address{reinterpret_cast<std::uintptr_t>(lent)}, page,
                               memory_kind::private_anonymous));
    CHECK_FALSE(block.populate(bytes(0, page)));
  }
  ::munmap(lent, page);
}

TEST_CASE("memory whose file shrank is said to be gone") {
  const auto file = static_cast<int>(linux_kernel::memfd_create("file", 0));
  REQUIRE(linux_kernel::ftruncate(file, 2 * page) == 0);
  {
    const auto block = must(ram_block::from_descriptor("ram", file, 0, 2 * page));
    must(block.populate(bytes(0, 2 * page)));
    REQUIRE(linux_kernel::ftruncate(file, page) == 0);
    const auto refused = block.populate(bytes(0, 2 * page));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::memory_gone));
  }
  ::close(file);
}

TEST_CASE("a refused discard answers the kernel's errno and leaves the contents") {
  for (const auto kind : {memory_kind::private_anonymous, memory_kind::shared}) {
    const auto block = must(ram_block::allocate<faulty_kernel>("ram", 2 * page, kind));
    fill(block);
    {
      const injected_fault fault{1, ENOMEM};
      const auto refused = discard_freely(block, bytes(0, page));
      REQUIRE(fault.fired());
      REQUIRE_FALSE(refused);
      CHECK(refused.error().is_errno(ENOMEM));
      CHECK(refused.error().subject() == "ram");
    }
    CHECK(all(block.data(), 2 * page, 0x5a));
    {
      const injected_fault interrupted{1, EINTR};
      must(discard_freely(block, bytes(0, page)));
      CHECK(interrupted.fired());
    }
    CHECK(all(block.data(), page, 0));
    const injected_fault fault{1, ENOMEM};
    CHECK(block.populate(bytes(0, page)).error().is_errno(ENOMEM));
  }
}

TEST_CASE("memory that is released more often than retained stops the program") {
  const auto block = must(ram_block::allocate("ram", page));
  CHECK(block.backing().references() == 0);
  block.backing().retain();
  block.backing().retain();
  CHECK(block.backing().references() == 2);
  block.backing().release();
  block.backing().release();
  CHECK(block.backing().references() == 0);
  CHECK(tether_test::stopped_by([&] { block.backing().release(); }).find("tether[R2]") !=
        std::string::npos);
}

}  // namespace runtime_topology_memory_backing
