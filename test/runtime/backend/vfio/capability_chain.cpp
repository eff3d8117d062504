// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/capability_chain.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace runtime_backend_vfio_capability_chain {

using namespace tether;
using namespace tether::detail;

namespace {

const error malformed = error{"test", errc::bad_descriptor};

struct question {
  std::uint32_t argsz = 0;
  std::uint32_t index = 0;
};

std::vector<std::byte> chain(std::vector<vfio_info_cap_header> const& headers) {
  std::vector<std::byte> bytes(headers.size() * sizeof(vfio_info_cap_header));
  if (!headers.empty()) std::memcpy(bytes.data(), headers.data(), bytes.size());
  return bytes;
}

}  // namespace

TEST_CASE("every capability is visited once, in the chain's order, until one is refused") {
  const auto bytes = chain({{0, 0, 0}, {1, 1, 24}, {9, 9, 0}, {2, 7, 0}});
  std::vector<std::size_t> visited;
  const auto visit = [&](std::size_t at, vfio_info_cap_header header) noexcept {
    visited.push_back(at);
    return header.version == 7 ? result<void>{failure(error{"refused", errc::unsupported})}
                               : result<void>{};
  };
  CHECK(read_chain(bytes, 0, 8, malformed, visit));
  CHECK(visited.empty());
  CHECK(read_chain(bytes, 8, 8, malformed, visit).error().is(errc::unsupported));
  CHECK(visited == std::vector<std::size_t>{8, 24});
}

TEST_CASE("a chain that goes round, back, into the struct or past the end is malformed") {
  const auto visit = [](std::size_t, vfio_info_cap_header) noexcept { return result<void>{}; };
  const auto walk = [&](std::uint32_t next, std::size_t first) {
    return read_chain(chain({{0, 0, 0}, {1, 1, 16}, {2, 1, next}}), first, 8, malformed, visit);
  };
  CHECK(walk(0, 8));
  for (const std::uint32_t next : {8U, 16U, 17U, 24U, 0xffff'ffffU})
    CHECK(walk(next, 8).error().is(errc::bad_descriptor));
  for (const std::size_t first : {1U, 7U, 17U, 24U, 0xffff'ffffU})
    CHECK(walk(0, first).error().is(errc::bad_descriptor));
}

TEST_CASE(
    "a usual answer is asked for once; a longer one again with the room that it needs, and no more "
    "than twice") {
  std::vector<std::uint32_t> rooms;
  std::uint32_t needed = 40;
  std::uint32_t grows_by = 0;
  std::size_t refused = 0;
  const auto ask = [&](void* at) noexcept {
    question now;
    std::memcpy(&now, at, sizeof now);
    CHECK(now.index == 5);
    rooms.push_back(now.argsz);
    if (rooms.size() == refused) return std::int64_t{-EIO};
    now.argsz = std::max(now.argsz, needed);
    needed += grows_by;
    std::memcpy(at, &now, sizeof now);
    return std::int64_t{0};
  };
  const auto once = ask_with_room("test", question{.index = 5}, malformed, ask);
  REQUIRE(once);
  REQUIRE(rooms.size() == 1);
  const std::uint32_t usual = rooms.front();
  CHECK(usual > needed);
  CHECK(once->size() == usual);

  needed = usual + 32;
  rooms.clear();
  const auto longer = ask_with_room("test", question{.index = 5}, malformed, ask);
  REQUIRE(longer);
  CHECK(longer->size() == usual + 32);
  CHECK(rooms == std::vector<std::uint32_t>{usual, usual + 32});
  rooms.clear();
  grows_by = 8;
  const auto grows = ask_with_room("test", question{.index = 5}, malformed, ask);
  CHECK(grows.error().is(errc::bad_descriptor));
  CHECK(rooms == std::vector<std::uint32_t>{usual, usual + 32, usual + 40});
  rooms.clear();
  needed = usual + 32;
  refused = 2;
  CHECK(ask_with_room("test", question{.index = 5}, malformed, ask).error().is_errno(EIO));
  const auto refuse = [](void*) noexcept { return std::int64_t{-EACCES}; };
  CHECK(ask_with_room("test", question{}, malformed, refuse).error().is_errno(EACCES));
  const auto huge = [](void* at) noexcept {
    const std::uint32_t size = 0xffff'ffff;
    std::memcpy(at, &size, sizeof size);
    return std::int64_t{0};
  };
  CHECK(ask_with_room("test", question{}, malformed, huge).error().is(errc::bad_descriptor));
}

}  // namespace runtime_backend_vfio_capability_chain
