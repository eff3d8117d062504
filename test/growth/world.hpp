// SPDX-License-Identifier: BSL-1.0
// Guests of N regions, for the rows of this folder.
#pragma once

#include <growth/growth.hpp>
#include <support/must.hpp>

#include <tether/core/kernel.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>

#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

namespace tether_test::growth {

using linux_calls = metered_kernel<tether::linux_kernel>;
inline constexpr std::uint64_t page = 4 * tether::KiB;

[[nodiscard]] inline tether::ram_block memory_of(std::uint64_t pages,
                                                 std::uint64_t page_size = page,
                                                 std::string_view name = "ram") {
  return must(tether::ram_block::allocate<linux_calls>(
      name, pages * page_size, tether::memory_kind::private_anonymous, page_size));
}

/// An order of the numbers below `n` that neither ascends nor descends, the same every time.
[[nodiscard]] inline std::vector<std::uint64_t> shuffled(std::uint64_t n) {
  std::vector<std::uint64_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  std::uint64_t state = 0x7e7be5;
  for (std::uint64_t i = n; i-- > 1;) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::swap(all[i], all[(state >> 33U) % (i + 1)]);
  }
  return all;
}

/// How the regions of a guest lie.
enum class layout : std::uint8_t {
  islands,     ///< a hole behind each: N sections
  neighbours,  ///< one behind the other, in memory too: one section
  strangers,   ///< one behind the other, and never merged: N sections
};

/// A guest with room for N regions of one page each; `plug` and `unplug` place and remove one.
struct guest {
  explicit guest(std::uint64_t n, layout how = layout::islands)
      : lies{how}, block{memory_of(n)}, ids(n) {}

  [[nodiscard]] static std::uint64_t number_of(tether::guest_address at) { return at.value / page; }
  [[nodiscard]] std::uint64_t stride() const { return lies == layout::islands ? 2 * page : page; }
  [[nodiscard]] tether::guest_address place_of(std::uint64_t i) const {
    return tether::guest_address{i * stride()};
  }
  [[nodiscard]] tether::region one(std::uint64_t i) {
    auto that = tether::region::ram(block, tether::block_offset{i * page}, page);
    return lies == layout::strangers ? that.unmergeable() : that;
  }
  void plug(std::uint64_t i) { ids[i] = must(space.place(one(i), place_of(i))); }
  void unplug(std::uint64_t i) { must(space.remove(ids[i])); }
  void plug_all() {
    auto change = space.begin();
    for (std::uint64_t i = 0; i != ids.size(); ++i)
      ids[i] = must(change.place(one(i), place_of(i)));
    static_cast<void>(must(change.commit()));
  }
  void unplug_all() {
    auto change = space.begin(tether::commit_kind::compulsory);
    for (const auto id : ids) must(change.remove(id));
    static_cast<void>(must(change.commit()));
  }

  layout lies;
  tether::ram_block block;
  tether::address_space space;
  std::vector<tether::region_id> ids;
};

/// A listener that follows and does nothing, or refuses.
struct deaf_listener {
  void begin(tether::commit_kind) noexcept {}
  void remove(tether::section const&) noexcept {}
  void add(tether::section const&) noexcept {}
  [[nodiscard]] tether::result<void> commit() noexcept {
    if (refuses) return tether::failure(tether::error{"follow", tether::errc::unsupported});
    return {};
  }
  bool refuses = false;
};

}  // namespace tether_test::growth
