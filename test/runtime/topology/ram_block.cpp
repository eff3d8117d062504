// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/ram_block.hpp>

#include <support/discard_freely.hpp>
#include <support/faulty_kernel.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace runtime_topology_ram_block {

using namespace tether;
using tether_test::discard_freely;
using tether_test::is_mapped;
using tether_test::must;

namespace {

const std::uint64_t page = linux_kernel::page_size();

bool a_child_sees(host_address host) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(is_mapped(host.value) ? 1 : 0);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

}  // namespace

TEST_CASE("a block gives its memory and its descriptor back when it is freed") {
  for (const auto kind : {memory_kind::private_anonymous, memory_kind::shared}) {
    const auto before = tether_test::descriptors();
    auto block = must(ram_block::allocate("ram", 2 * page, kind));
    const auto host = block.host();
    CHECK(block.size() == 2 * page);
    CHECK(block.name() == "ram");
    CHECK(block.kind() == kind);
    CHECK(is_mapped(host.value));
    must(block.free());
    CHECK_FALSE(block);
    CHECK_FALSE(is_mapped(host.value));
    CHECK(tether_test::descriptors() == before);
    must(block.free());
  }
}

TEST_CASE("a block that something refers to cannot be freed, and stays as it was") {
  auto block = must(ram_block::allocate("ram", page));
  block.data()[0] = std::byte{9};
  block.backing().retain();
  const auto refused = block.free();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::still_in_use));
  CHECK(refused.error().subject() == "ram");
  CHECK(block.data()[0] == std::byte{9});
  block.backing().release();
  must(block.free());
}

TEST_CASE("a block that the kernel will not unmap stays as it was, descriptor included") {
  auto block = must(ram_block::allocate<faulty_kernel>("ram", page, memory_kind::shared));
  block.data()[0] = std::byte{9};
  const auto before = tether_test::descriptors();
  {
    const injected_fault fault{1, ENOMEM, true};
    CHECK(block.free().error().is_errno(ENOMEM));
    CHECK(fault.fired());
  }
  CHECK(tether_test::descriptors() == before);
  CHECK(block.data()[0] == std::byte{9});
  must(discard_freely(block, {block_offset{0}, block_offset{page - 1}}));
  CHECK(block.data()[0] == std::byte{0});
  must(block.free());
}

TEST_CASE("destroying or replacing a block that something refers to stops the program") {
  CHECK(tether_test::stopped_by([] {
          auto block = ram_block::allocate("ram", page);
          block->backing().retain();
        }).find("tether[R1]") != std::string::npos);
  CHECK(tether_test::stopped_by([] {
          auto block = ram_block::allocate("ram", page);
          block->backing().retain();
          *block = *ram_block::allocate("other", page);
        }).find("tether[R1]") != std::string::npos);
}

TEST_CASE("a block for which there are addresses is made, aligned or not") {
  for (const memory_kind kind : {memory_kind::private_anonymous, memory_kind::shared}) {
    const auto ended = tether_test::in_a_child([kind] {
      std::uint64_t pages = 0;
      if (std::FILE* const file = std::fopen("/proc/self/statm", "r")) {
        if (std::fscanf(file, "%" SCNu64, &pages) != 1) pages = 0;
        std::fclose(file);
      }
      const rlim_t most = pages * linux_kernel::page_size() + GiB + GiB / 2;
      const rlimit addresses{most, most};
      if (pages == 0 || ::setrlimit(RLIMIT_AS, &addresses) != 0) return 77;
      auto block = ram_block::allocate("ram", GiB, kind);
      if (!block) return 1;
      block->data()[GiB - 1] = std::byte{1};
      if (!block->host().aligned_to(2 * MiB)) return 2;
      if (!ram_block::allocate("more", 256 * MiB, kind)) return 3;
      return ram_block::allocate("too much", 600 * MiB, kind) ? 4 : 0;
    });
    if (ended.exit_code == 77) return tether_test::skip_because("the limits cannot be set");
    CHECK(ended.exit_code == 0);
  }
}

TEST_CASE("a moved block keeps its memory where it is, and the old handle has nothing") {
  auto block = must(ram_block::allocate("ram", page));
  auto* const memory = &block.backing();
  const auto host = block.host();
  auto moved = std::move(block);
  CHECK_FALSE(block);  // NOLINT(bugprone-use-after-move): what this test is about
  CHECK(&moved.backing() == memory);
  CHECK(moved.host() == host);
  auto other = must(ram_block::allocate("other", page));
  const auto replaced = other.host();
  other = std::move(moved);
  CHECK(other.host() == host);
  CHECK_FALSE(is_mapped(replaced.value));
}

TEST_CASE("private memory is not inherited by a fork, shared memory is") {
  const auto own = must(ram_block::allocate("private", page));
  const auto shared = must(ram_block::allocate("shared", page, memory_kind::shared));
  CHECK_FALSE(a_child_sees(own.host()));
  CHECK(a_child_sees(shared.host()));
}

}  // namespace runtime_topology_ram_block
