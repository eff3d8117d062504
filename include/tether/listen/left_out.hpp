// SPDX-License-Identifier: BSL-1.0
// The sections that passed the filter but are not mapped. They must be remembered: removing one
// must not unmap a hole.
//
//     |  left out before this change  |  left out by it  |     a rollback cuts the second part off
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>
#include <tether/core/mapping.hpp>
#include <tether/topology/section.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <vector>

namespace tether {

/// A copy that describes a section whose region and memory may be gone: it owns its name and holds
/// no pointer.
struct section_description {
  extent<guest_address> where{};
  region_kind kind = region_kind::ram;
  access rights = access::read_write;
  label name{};  ///< as announced; placing the region elsewhere later does not change it
};

[[nodiscard]] inline section_description describe(section const& one) noexcept {
  return {.where = one.where, .kind = one.kind, .rights = one.rights(), .name = one.name};
}

/// A section that devices do not see although it passed the filter, and why.
struct left_out_section {
  section_description what;
  error why;
};

/// All of them. Sections present at one time do not overlap, so an extent identifies one section
/// from before the change, or one that it adds.
class left_out_list {
 public:
  [[nodiscard]] std::vector<left_out_section> const& all() const noexcept { return all_; }

  void begin_change() noexcept { before_ = all_.size(); }
  /// Whether this section was left out before the change. Cost: linear in those left out.
  [[nodiscard]] bool was_left_out(section const& one) const noexcept {
    const auto same = [&](left_out_section const& other) { return other.what.where == one.where; };
    return std::any_of(all_.begin(), all_.begin() + static_cast<std::ptrdiff_t>(before_), same);
  }
  /// Leaves out a section that this change adds. False: out of memory.
  [[nodiscard]] bool add(section const& one, error const& why) noexcept {
    try {
      all_.push_back({describe(one), why});
      return true;
    } catch (std::exception const&) {
      return false;
    }
  }
  /// Drops a section left out before, which this change removes.
  void remove(section const& one) noexcept {
    const auto end = all_.begin() + static_cast<std::ptrdiff_t>(before_);
    const auto found = std::find_if(all_.begin(), end, [&](left_out_section const& other) {
      return other.what.where == one.where;
    });
    if (found == end) return;
    all_.erase(found);
    before_ -= 1;
    removals_ += 1;
  }
  /// Rolls a change back. Requires: none of its removals was applied here.
  void roll_back() noexcept {
    all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(before_), all_.end());
  }
  /// Those that this change left out.
  [[nodiscard]] std::span<left_out_section const> added() const noexcept {
    return std::span{all_}.subspan(before_);
  }
  void clear() noexcept {
    all_.clear();
    before_ = 0;
    removals_ += 1;
  }
  /// How often something was removed. While that stays the same, a list that was copied between two
  /// changes has only grown at its end.
  [[nodiscard]] std::uint64_t removals() const noexcept { return removals_; }

 private:
  std::vector<left_out_section> all_;
  std::size_t before_ = 0;
  std::uint64_t removals_ = 0;
};

}  // namespace tether
