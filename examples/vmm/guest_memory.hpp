// SPDX-License-Identifier: BSL-1.0
// The guest's memory as a device of this monitor sees it: by guest address, and only what is there.
// A guest may name any address; what it may not use is answered with nothing.
#pragma once

#include <tether/core/address.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace vmm {

/// Guest memory as a descriptor of a queue names it.
struct segment {
  std::uint64_t address;
  std::uint64_t bytes;
};

class guest_memory {
 public:
  /// Requires: the block outlives this; it is placed at `at`.
  void add(tether::ram_block const& block, std::uint64_t at) { blocks_.push_back({&block, at}); }

  /// The bytes of `what`; none if some of them are no memory, or memory that the guest has given
  /// away (its unit is discarded) and must not use.
  [[nodiscard]] std::span<std::byte> at(segment what) const {
    for (auto const& [block, first] : blocks_) {
      if (what.address < first || what.address - first >= block->size()) continue;
      const std::uint64_t offset = what.address - first;
      if (what.bytes == 0 || what.bytes > block->size() - offset) return {};
      if (!is_there(*block, offset, what.bytes)) return {};
      return {block->data() + offset, static_cast<std::size_t>(what.bytes)};
    }
    return {};
  }

  /// A copy of what the segments hold, so that the guest cannot change it any more; nothing if they
  /// are not all memory, or more than `most` bytes.
  [[nodiscard]] std::optional<std::vector<std::byte>> copy(std::span<segment const> from,
                                                           std::uint64_t most) const {
    std::vector<std::byte> all;
    for (segment const& one : from) {
      if (one.bytes > most - all.size()) return std::nullopt;
      const auto bytes = at(one);
      if (bytes.empty()) return std::nullopt;
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }
  /// Writes `bytes` into the segments, from the first on. Answers whether they had room.
  [[nodiscard]] bool write(std::span<segment const> into, std::span<std::byte const> bytes) const {
    for (segment one : into) {
      if (bytes.empty()) break;
      if (one.bytes > bytes.size()) one.bytes = bytes.size();
      const auto room = at(one);
      if (room.empty()) return false;
      std::memcpy(room.data(), bytes.data(), room.size());
      bytes = bytes.subspan(room.size());
    }
    return bytes.empty();
  }

 private:
  struct placed {
    tether::ram_block const* block;
    std::uint64_t at;
  };
  [[nodiscard]] static bool is_there(tether::ram_block const& block, std::uint64_t offset,
                                     std::uint64_t bytes) {
    tether::population const* const units = block.backing().population();
    if (units == nullptr) return true;
    const tether::block_offset first = block.first() + offset;
    for (std::uint64_t unit = units->unit_at(first); unit <= units->unit_at(first + (bytes - 1));
         ++unit) {
      if (!units->is_populated(unit)) return false;
    }
    return true;
  }

  std::vector<placed> blocks_;
};

}  // namespace vmm
