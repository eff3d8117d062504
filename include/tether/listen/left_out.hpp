// SPDX-License-Identifier: BSL-1.0
// The sections that passed the filter but are not mapped. They must be remembered: removing one
// must not unmap a hole.
//
//     present | 0x1000  0x8000 |      remove: to `removed`, from where a rollback restores it
//     added   | 0x4000 |              change happened: becomes present      refused: dropped
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>
#include <tether/core/mapping.hpp>
#include <tether/listen/detail/section_order.hpp>
#include <tether/topology/section.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <utility>
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

/// All of them, by address. Sections present at one time do not overlap, so a first address
/// identifies one from before the change, or one that it adds. Cost: of each lookup, log of those
/// left out, counted in comparisons by `Order`; only `add` needs memory.
template <class Order = detail::section_order>
class basic_left_out_list {
 public:
  /// All, ascending. Requires: no change is in progress. Cost: copies them. Fails: throws
  /// `std::bad_alloc`.
  [[nodiscard]] std::vector<left_out_section> all() const {
    std::vector<left_out_section> every;
    every.reserve(present_.size());
    for (auto const& [first, one] : present_) every.push_back(one);
    return every;
  }
  [[nodiscard]] std::size_t size() const noexcept { return present_.size(); }

  /// `rolls_back`: this change is the inverse of the one that has just ended, so `restore` knows
  /// those that it removed.
  void begin_change(bool rolls_back = false) noexcept {
    rolls_back_ = rolls_back;
    if (!rolls_back) removed_.clear();
  }
  /// Whether this section was left out before the change.
  [[nodiscard]] bool was_left_out(section const& one) const noexcept {
    return find(present_, one) != present_.end();
  }
  /// Leaves out a section that this change adds. False: out of memory.
  [[nodiscard]] bool add(section const& one, error const& why) noexcept {
    try {
      added_.insert_or_assign(one.where.first, left_out_section{describe(one), why});
      return true;
    } catch (std::exception const&) {
      return false;
    }
  }
  /// Drops a section left out before, which this change removes.
  void remove(section const& one) noexcept {
    const auto found = find(present_, one);
    if (found == present_.end()) return;
    auto node = present_.extract(found);
    if (!rolls_back_) removed_.insert(std::move(node));
    version_ += 1;
  }
  /// In a rollback: whether the change that is rolled back removed this section from here. Ensures:
  /// if so it is left out again, for its old reason. Requires: the removals were applied.
  [[nodiscard]] bool restore(section const& one) noexcept {
    if (!rolls_back_) return false;
    const auto found = find(removed_, one);
    if (found == removed_.end()) return false;
    present_.insert(removed_.extract(found));
    version_ += 1;
    return true;
  }
  /// Ends a change that did not happen. Requires: none of its removals was applied here.
  void roll_back() noexcept {
    added_.clear();
    rolls_back_ = false;
  }
  /// The one left out by this change, or null.
  [[nodiscard]] left_out_section const* added(section const& one) const noexcept {
    const auto found = find(added_, one);
    return found == added_.end() ? nullptr : &found->second;
  }
  /// Ends a change that happened. Requires: its removals were applied.
  void keep() noexcept {
    if (!added_.empty()) version_ += 1;
    present_.merge(added_);
    roll_back();
  }
  void clear() noexcept {
    present_.clear();
    removed_.clear();
    version_ += 1;
    roll_back();
  }
  /// Another number after each change, so that a copy knows whether it is as the list.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

 private:
  using sections = std::map<guest_address, left_out_section, Order>;

  template <class Sections>
  static auto find(Sections& all, section const& one) noexcept {
    const auto found = all.find(one.where.first);
    return found != all.end() && found->second.what.where == one.where ? found : all.end();
  }

  sections present_;
  sections removed_;  // by the last change, if it happened: it may be rolled back
  sections added_;
  bool rolls_back_ = false;
  std::uint64_t version_ = 0;
};

using left_out_list = basic_left_out_list<>;

}  // namespace tether
