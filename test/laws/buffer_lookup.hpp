// SPDX-License-Identifier: BSL-1.0
// The laws of the concept `buffer_lookup`, for any model: ours, and a user's own. Buffers come and
// go, and every answer is compared with that of a list of them which is read from end to end.
#pragma once

#include <tether/backend/concepts.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <utility>

namespace tether::laws {

/// A lookup beside the list that it must agree with.
template <buffer_lookup Lookup>
class compared_lookup {
 public:
  static constexpr std::uint64_t unit = std::max<std::uint64_t>(Lookup::block_size, 4 * KiB);

  void insert(buffer_place const& buffer) {
    REQUIRE(lookup_.insert(buffer));
    listed_.emplace(buffer.host.first.value, buffer);
  }
  /// The `which`-th in order of address. Requires: there is one.
  void erase(std::size_t which) {
    const auto at = std::next(listed_.begin(), static_cast<std::ptrdiff_t>(which));
    lookup_.erase(at->second);
    listed_.erase(at);
  }
  void move() {
    Lookup moved = std::move(lookup_);
    Lookup fresh;
    fresh = std::move(moved);
    lookup_ = std::move(fresh);
  }
  [[nodiscard]] std::size_t size() const { return listed_.size(); }
  [[nodiscard]] std::optional<buffer_place> first_in(extent<host_address> where) const {
    for (auto const& [first, buffer] : listed_)
      if (buffer.host.overlaps(where)) return buffer;
    return {};
  }

  void agrees_in(extent<host_address> where) const {
    REQUIRE(lookup_.size() == listed_.size());
    REQUIRE(lookup_.first_in(where) == first_in(where));
  }
  /// Asked for no bytes, one, and what ends with the buffer, or a byte or a block further.
  void agrees_at(host_address host) const {
    const auto there = first_in({host, host});
    const auto rest = there ? there->host.last - host + 1 : unit;
    constexpr auto all = std::numeric_limits<std::uint64_t>::max();
    const std::array<std::uint64_t, 9> lengths{0,           1,        rest - 1, rest, rest + 1,
                                               rest + unit, 2 * unit, all / 2,  all};
    const auto agrees = [&](std::uint64_t bytes) {
      constexpr io_address untouched{1};
      const bool wanted = there && bytes != 0 && bytes <= rest;
      io_address found = untouched;
      return lookup_.find(host, bytes, found) == wanted &&
             found == (wanted ? there->first + (host - there->host.first) : untouched);
    };
    REQUIRE(std::all_of(lengths.begin(), lengths.end(), agrees));
  }
  /// At both ends of each buffer, and beside it.
  void agrees_everywhere() const {
    auto rest = extent<host_address>::everything();
    for (auto const& [first, buffer] : listed_) {
      REQUIRE(lookup_.first_in(rest) == buffer);
      rest.first = buffer.host.last + 1;
      for (const host_address at : {buffer.host.first - 1, buffer.host.first,
                                    buffer.host.first + unit / 2, buffer.host.last,
                                    buffer.host.last + 1}) {
        agrees_at(at);
        agrees_in({at, at});
      }
    }
    agrees_in(rest);
  }

 private:
  Lookup lookup_{};
  std::map<std::uint64_t, buffer_place> listed_{};
};

/// Units: `Lookup`'s blocks, or pages of 4 KiB where those are smaller.
template <buffer_lookup Lookup>
[[nodiscard]] buffer_place units_at(std::uint64_t first, std::uint64_t count, std::uint64_t io) {
  constexpr auto unit = compared_lookup<Lookup>::unit;
  return {{host_address{first}, host_address{first + (count * unit - 1)}}, io_address{io}};
}

/// In any order, in places far apart, each of which has a boundary of a GiB in its middle. Half of
/// the buffers lie to their neighbours as devices see them, as they do in this process.
template <buffer_lookup Lookup>
void check_buffers_in_any_order(std::uint64_t seed) {
  constexpr auto unit = compared_lookup<Lookup>::unit;
  constexpr std::uint64_t reach = 96;
  std::mt19937_64 random{seed};
  compared_lookup<Lookup> lookup;
  constexpr std::array places{std::uint64_t{0}, 256 * GiB - 48 * unit, 1000 * GiB - 48 * unit,
                              (std::uint64_t{1} << 47U) - 64 * GiB - 48 * unit};
  for (int step = 0; step != 1'500; ++step) {
    const bool grows = step % 500 < 300;
    const std::uint64_t first = places[random() % places.size()] + random() % reach * unit;
    const std::uint64_t io = random() % 2 == 0 ? first + 64 * GiB : random() % MiB * 4 * KiB;
    const auto made = units_at<Lookup>(first, 1 + random() % 8, io);
    if (grows && !lookup.first_in(made.host)) lookup.insert(made);
    else if (!grows && lookup.size() != 0) lookup.erase(random() % lookup.size());
    lookup.agrees_at(host_address{first + random() % unit});
    lookup.agrees_in({made.host.first - random() % 8 * unit, made.host.last});
    if (step % 300 == 0) lookup.move();
    if (step % 150 == 0) lookup.agrees_everywhere();
  }
  while (lookup.size() != 0) lookup.erase(0);
  lookup.agrees_everywhere();
}

/// Buffers that touch are still two, and one is one however long it is.
template <buffer_lookup Lookup>
void check_lengths_of_buffers() {
  constexpr auto unit = compared_lookup<Lookup>::unit;
  for (const std::uint64_t count :
       std::array<std::uint64_t, 7>{1, 2, 4'094, 4'095, 4'096, 8'189, 8'200}) {
    compared_lookup<Lookup> lookup;
    const std::uint64_t first = 64 * GiB - unit;
    lookup.insert(units_at<Lookup>(first + count * unit, count, count * unit));
    lookup.insert(units_at<Lookup>(first, count, 0));
    lookup.insert(units_at<Lookup>(first - unit, 1, 8 * GiB));
    lookup.agrees_everywhere();
    lookup.agrees_at(host_address{first + count / 2 * unit});
    lookup.agrees_in({host_address{first + count / 2 * unit}, host_address{first + count * unit}});
    lookup.erase(1);
    lookup.agrees_everywhere();
  }
}

template <buffer_lookup Lookup>
void check_buffer_lookup() {
  check_lengths_of_buffers<Lookup>();
  for (const std::uint64_t seed : {1U, 2U}) check_buffers_in_any_order<Lookup>(seed);
}

}  // namespace tether::laws
