// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/detail/partial_pages.hpp>

#include <tether/core/kernel.hpp>
#include <tether/topology/ram_block.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <memory_resource>

namespace runtime_discard_detail_partial_pages {

using namespace tether;
using namespace tether::detail;
using detail::block_records;
using detail::partial_page;
using detail::partial_pages;

namespace {

struct large_pages {
  ram_block ram;
  detail::section_owner_pointer owner;

  large_pages()
      : ram{make()},
        owner{std::make_shared<detail::section_owner const>(label{}, &ram.backing())} {}
  ~large_pages() { owner.reset(); }
  [[nodiscard]] std::uint64_t generation() const { return ram.backing().generation().number(); }
  static ram_block make() {
    alignas(64 * KiB) static std::byte bytes[256 * KiB];
    const host_address at{reinterpret_cast<std::uintptr_t>(bytes)};
    return ram_block::borrow("ram", at, sizeof bytes, memory_kind::private_anonymous, 64 * KiB)
        .value();
  }
};

}  // namespace

TEST_CASE("frames of one host page meet, and those of two do not") {
  large_pages memory;
  partial_pages all{std::pmr::get_default_resource()};
  block_records* const notes = all.of(memory.ram.backing(), memory.generation(),
                                      memory.ram.backing().page_size(), memory.owner);
  REQUIRE(notes != nullptr);
  CHECK(all.of(memory.ram.backing(), memory.generation(), memory.ram.backing().page_size(),
               memory.owner) == notes);
  const partial_page first = notes->at(0);
  REQUIRE(first);
  CHECK(notes->at(60 * KiB) == first);
  CHECK(notes->key_of(60 * KiB) == notes->key_of(0));
  const partial_page second = notes->at(64 * KiB);
  CHECK_FALSE(second == first);
  CHECK_FALSE(notes->key_of(64 * KiB) == notes->key_of(0));
  CHECK(all.size() == 0);
  first.mark_free(15);
  CHECK(second.inflated() == 0);
  second.mark_free(0);
  CHECK(first.inflated() == 1);
  CHECK(all.size() == 2);
}

TEST_CASE(
    "a page that the guest has back completely is not kept in mind, nor is a block without any") {
  large_pages memory;
  partial_pages all{std::pmr::get_default_resource()};
  memory_backing& block = memory.ram.backing();
  block_records* const notes = all.of(block, memory.generation(), block.page_size(), memory.owner);
  notes->at(0).mark_free(0);
  notes->at(4 * KiB).mark_free(1);
  all.mark_used(block, 4 * KiB);
  CHECK(all.size() == 1);
  all.mark_used(block, 8 * KiB);
  all.mark_used(block, 128 * KiB);
  CHECK(all.size() == 1);
  CHECK_FALSE(notes->empty());
  all.mark_used(block, 0);
  CHECK(all.size() == 0);
  CHECK(all.of(block, memory.generation(), block.page_size(), memory.owner)->empty());
}

TEST_CASE(
    "notes of another generation of a block are given as they are, and only forgotten as a whole") {
  large_pages memory;
  partial_pages all{std::pmr::get_default_resource()};
  memory_backing& block = memory.ram.backing();
  const auto before = memory.generation();
  all.of(block, before, block.page_size(), memory.owner)->at(0).mark_free(0);
  block.generation().begin_edit();
  block.generation().end_edit();
  const auto now = memory.generation();
  REQUIRE(now != before);
  CHECK(all.of(block, now, block.page_size(), memory.owner)->generation() == before);
  all.mark_used(block, 0);  // nothing that it means
  CHECK(all.size() == 1);
  const page_key old = all.of(block, now, block.page_size(), memory.owner)->key_of(0);
  all.erase(block);
  CHECK(all.size() == 0);
  // what a request knows of the old ones' pages it does not take for these'
  CHECK_FALSE(all.of(block, now, block.page_size(), memory.owner)->key_of(0) == old);
  CHECK(all.of(block, now, block.page_size(), memory.owner)->generation() == now);
  CHECK(all.of(block, now, block.page_size(), memory.owner)->at(0).inflated() == 0);
}

TEST_CASE(
    "notes of memory that nobody keeps alive any more are forgotten, and the notes keep it alive "
    "themselves no moment") {
  large_pages memory;
  partial_pages all{std::pmr::get_default_resource()};
  memory_backing& block = memory.ram.backing();
  all.of(block, memory.generation(), block.page_size(), memory.owner)->at(0).mark_free(0);
  all.erase_expired();
  CHECK(all.size() == 1);
  memory.owner.reset();
  CHECK(block.references() == 0);
  all.erase_expired();
  CHECK(all.size() == 0);
}

TEST_CASE("where there is no memory to note a frame, nothing is noted and nothing thrown") {
  large_pages memory;
  partial_pages all{std::pmr::null_memory_resource()};
  CHECK(all.of(memory.ram.backing(), memory.generation(), memory.ram.backing().page_size(),
               memory.owner) == nullptr);
  CHECK(all.size() == 0);
  block_records notes{1, memory.generation(), 64 * KiB, memory.owner,
                      std::pmr::null_memory_resource()};
  CHECK_FALSE(notes.at(0));
  CHECK(notes.empty());
}

}  // namespace runtime_discard_detail_partial_pages
