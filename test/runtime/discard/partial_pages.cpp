// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/partial_pages.hpp>

#include <tether/core/kernel.hpp>
#include <tether/topology/ram_block.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <memory_resource>

using namespace tether;
using detail::partial_page;
using detail::partial_pages;

namespace {

struct large_pages {
  ram_block ram;
  detail::anchor_pointer owner;

  large_pages() : ram{make()}, owner{std::make_shared<detail::anchor const>(label{}, &ram.backing())} {}
  ~large_pages() { owner.reset(); }
  static ram_block make() {
    alignas(64 * KiB) static std::byte bytes[256 * KiB];
    const host_address at{reinterpret_cast<std::uintptr_t>(bytes)};
    return ram_block::borrow("ram", at, sizeof bytes, memory_kind::private_anonymous, 64 * KiB).value();
  }
};

}  // namespace

TEST_CASE("a page is complete with its last frame, and not before, in whatever order they come") {
  for (const std::uint64_t bytes : {8 * KiB, 64 * KiB, 2 * MiB}) {
    partial_page page{bytes, std::pmr::get_default_resource()};
    const std::uint64_t frames = bytes / frame_size;
    CAPTURE(frames);
    for (std::uint64_t i = 0; i < frames; ++i) {
      CHECK_FALSE(page.complete());
      const std::uint64_t frame = (i * 7 + 3) % frames;  // 7 divides no power of two, so each comes once
      CHECK(page.give(frame));
      CHECK_FALSE(page.give(frame));
      CHECK(page.given() == i + 1);
    }
    CHECK(page.complete());
    CHECK(page.take_back(frames - 1));
    CHECK_FALSE(page.take_back(frames - 1));
    CHECK_FALSE(page.complete());
    page.forget_all();
    CHECK(page.empty());
    CHECK(page.give(0));
  }
}

TEST_CASE("what one request was told is not taken for what another was") {
  partial_page page{64 * KiB, std::pmr::get_default_resource()};
  page.seen_by(1);
  page.give(0);
  page.waiting_here = 1;
  page.seen_by(1);
  CHECK(page.waiting_here == 1);
  page.seen_by(2);
  CHECK(page.waiting_here == 0);
  CHECK(page.given() == 1);
}

TEST_CASE("frames of one host page meet, and those of two do not") {
  large_pages memory;
  partial_pages all{std::pmr::get_default_resource()};
  partial_page* const first = all.at(memory.ram.backing(), memory.owner, 0);
  REQUIRE(first != nullptr);
  CHECK(all.at(memory.ram.backing(), memory.owner, 60 * KiB) == first);
  CHECK(all.at(memory.ram.backing(), memory.owner, 64 * KiB) != first);
  CHECK(all.size() == 2);
}

TEST_CASE("a page that the guest has back completely is not kept in mind") {
  large_pages memory;
  partial_pages all{std::pmr::get_default_resource()};
  all.at(memory.ram.backing(), memory.owner, 0)->give(0);
  all.at(memory.ram.backing(), memory.owner, 4 * KiB)->give(1);
  all.take_back(memory.ram.backing(), 4 * KiB);
  CHECK(all.size() == 1);
  all.take_back(memory.ram.backing(), 8 * KiB);
  all.take_back(memory.ram.backing(), 128 * KiB);
  CHECK(all.size() == 1);
  all.take_back(memory.ram.backing(), 0);
  CHECK(all.size() == 0);
}

TEST_CASE("frames that were given while another owner kept the memory are forgotten with that owner") {
  large_pages memory;
  partial_pages all{std::pmr::get_default_resource()};
  all.at(memory.ram.backing(), memory.owner, 0)->give(0);
  const auto alias = std::make_shared<detail::anchor const>(label{}, &memory.ram.backing());
  CHECK(all.at(memory.ram.backing(), alias, 0)->given() == 1);  // an alias, while the first owner lives
  memory.owner.reset();
  CHECK(all.at(memory.ram.backing(), alias, 0)->given() == 0);
}

TEST_CASE("where there is no memory to note a frame, nothing is noted and nothing thrown") {
  large_pages memory;
  partial_pages all{std::pmr::null_memory_resource()};
  CHECK(all.at(memory.ram.backing(), memory.owner, 0) == nullptr);
  CHECK(all.size() == 0);
}
