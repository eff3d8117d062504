// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/chunk_group.hpp>

#include <tether/topology/detail/section_owner.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace runtime_topology_detail_chunk_group {

using namespace tether;
using namespace tether::detail;

namespace {

/// `count` chunks of one section each, which begin at `first`, `first` + 1, ...
std::vector<chunk_pointer> chunks(std::uint64_t first, std::size_t count) {
  std::vector<chunk_pointer> all;
  for (std::size_t i = 0; i != count; ++i) {
    section_run one;
    section what{};
    what.where = {guest_address{first + i}, guest_address{first + i}};
    one.append(what, std::make_shared<section_owner const>(label{"one"}, nullptr));
    auto chunk = section_chunk::make(1);
    chunk->append(one, 0, 1);
    all.push_back(std::move(chunk));
  }
  return all;
}

}  // namespace

TEST_CASE("a group keeps its chunks in their order, and as long as anyone has it") {
  for (const std::size_t count : {std::size_t{1}, chunk_group::capacity}) {
    auto all = chunks(10, count);
    const std::weak_ptr<section_chunk const> last = all.back();
    auto group = chunk_group::make(all);
    CHECK(all.back() == nullptr);
    REQUIRE(group->chunks().size() == count);
    CHECK(group->sections() == count);
    for (std::size_t i = 0; i != count; ++i)
      CHECK(group->chunks()[i]->sections().front().where.first == guest_address{10 + i});
    CHECK(group->last_section().where.first == guest_address{10 + count - 1});
    const auto again = group;
    group.reset();
    CHECK_FALSE(last.expired());
  }
}

TEST_CASE("the last that has a group frees its chunks") {
  auto all = chunks(0, 3);
  const std::weak_ptr<section_chunk const> middle = all[1];
  auto group = chunk_group::make(all);
  group.reset();
  CHECK(middle.expired());
}

TEST_CASE("a list has no group, one, or several, in their order") {
  CHECK(group_list{}.all().empty());
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
    std::vector<group_pointer> groups;
    for (std::size_t i = 0; i != count; ++i) {
      auto all = chunks(100 * i, 2);
      groups.push_back(chunk_group::make(all));
    }
    const auto expected = groups;
    const group_list list{groups};
    CHECK(std::vector<group_pointer>(list.all().begin(), list.all().end()) == expected);
    const group_list copy = list;  // NOLINT: what is tested
    CHECK(copy.all().size() == count);
  }
}

}  // namespace runtime_topology_detail_chunk_group
