// SPDX-License-Identifier: BSL-1.0
// Both edge policies, and one that a user could write, under the laws of `edges.hpp`.
#include <laws/edges.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <random>

namespace laws_edges {

using namespace tether;

namespace {

/// A user's own: ragged ends are fine, but RAM of which nothing at all can be mapped is a mistake.
struct refuse_vanishing {
  using slot = edges_slot;
  static constexpr bool refuses(fitting::verdict how, bool is_ram) noexcept {
    return is_ram &&
           (how == fitting::verdict::nothing_left || how == fitting::verdict::not_congruent);
  }
};

}  // namespace

TEST_CASE_TEMPLATE(
    "law: an edge policy always refuses RAM that no page can map, and never what is not RAM",
    Policy, trim_edges, refuse_edges, refuse_vanishing) {
  laws::check_edges<Policy>();
}

TEST_CASE("law: fitting keeps exactly the whole pages that lie inside, wherever the section lies") {
  std::mt19937_64 random{567};
  for (const std::uint64_t page :
       {std::uint64_t{4 * KiB}, std::uint64_t{64 * KiB}, std::uint64_t{2 * MiB}}) {
    for (int i = 0; i < 500; ++i) {
      const std::uint64_t first = random() % (8 * page);
      const std::uint64_t size = 1 + random() % (5 * page);
      const std::uint64_t host = 0x7f00'0000'0000 + (i % 4 == 0 ? random() % page : first % page);
      laws::check_fitting(
          {{io_address{first}, io_address{first} + (size - 1)}, host_address{host}, access::read},
          page);
    }
  }
}

TEST_CASE("law: fitting does not wrap at the end of the address space") {
  for (const std::uint64_t size : {1 * KiB, 4 * KiB, 4 * KiB + 1, 8 * KiB - 1, 64 * KiB}) {
    const std::uint64_t first = 0 - size;
    // The brute force cannot look past 2^64, so only its last page index is asked for.
    const mapping raw{{io_address{first}, io_address{~std::uint64_t{0}}},
                      host_address{0x7f00'0000'0000 + first % (4 * KiB)}};
    const fitting found = fit_to_pages(raw, 4 * KiB);
    CAPTURE(size);
    CHECK(found.mappable() == (size >= 4 * KiB));
    if (!found.mappable()) continue;
    CHECK(found.inside.where.last == raw.where.last);
    CHECK(found.inside.where.size() == size / (4 * KiB) * (4 * KiB));
    CHECK(found.trimmed == size % (4 * KiB));
  }
}

}  // namespace laws_edges
