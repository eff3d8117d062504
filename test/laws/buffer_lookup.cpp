// SPDX-License-Identifier: BSL-1.0
// Every lookup of `mapped_buffers`, and one that a user could write, under the laws of
// `buffer_lookup.hpp`.
#include <laws/buffer_lookup.hpp>

#include <tether/backend/direct_lookup.hpp>
#include <tether/backend/mapped_buffers.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <vector>

namespace laws_buffer_lookup {

using namespace tether;

namespace {

/// A user's own: a handful of buffers, and no order.
class short_list {
 public:
  static constexpr std::uint64_t block_size = 64;

  [[nodiscard]] bool insert(buffer_place const& buffer) noexcept {
    try {
      all_.push_back(buffer);
    } catch (std::exception const&) {
      return false;
    }
    return true;
  }
  void erase(buffer_place const& buffer) noexcept {
    all_.erase(std::find(all_.begin(), all_.end(), buffer));
  }
  [[nodiscard]] std::optional<buffer_place> first_in(extent<host_address> where) const noexcept {
    std::optional<buffer_place> lowest;
    for (auto const& one : all_)
      if (one.host.overlaps(where) && (!lowest || one.host.first < lowest->host.first))
        lowest = one;
    return lowest;
  }
  [[nodiscard]] bool find(host_address host, std::uint64_t bytes,
                          io_address& found) const noexcept {
    const auto asked = extent<host_address>::of(host, bytes);
    const auto there = first_in({host, host});
    if (!asked || !there || !there->host.contains(*asked)) return false;
    found = there->first + (host - there->host.first);
    return true;
  }
  [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

 private:
  std::vector<buffer_place> all_;
};

}  // namespace

TEST_CASE_TEMPLATE("law: what finds buffers agrees with a list of them", Lookup, sorted_lookup,
                   direct_lookup<4 * KiB>, direct_lookup<64 * KiB>, direct_lookup<2 * MiB>,
                   direct_lookup<GiB>, short_list) {
  laws::check_buffer_lookup<Lookup>();
}

}  // namespace laws_buffer_lookup
