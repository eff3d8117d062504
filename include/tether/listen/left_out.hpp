// SPDX-License-Identifier: BSL-1.0
// The sections that passed the filter but are not mapped. They must be remembered: removing one
// must not unmap a hole.
//
//     present | 0x1000  0x8000 |      remove: to `removed`, from where a rollback restores it
//     added   | 0x4000 |              change happened: becomes present      refused: dropped
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
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
  extent<guest_address> where{};        ///< the guest's addresses
  region_kind kind = region_kind::ram;  ///< what is there
  access rights = access::read_write;   ///< what devices could have done there
  label name{};  ///< as announced; placing the region elsewhere later does not change it
};

/// The description of a section.
[[nodiscard]] inline section_description describe(section const& one) noexcept {
  return {.where = one.where, .kind = one.kind, .rights = one.rights(), .name = one.name};
}

/// A section that devices do not see although it passed the filter, and why.
struct left_out_section {
  section_description what;  ///< the section
  error why;                 ///< why it is not mapped
};

/// A copy of all of them, by address.
using left_out_copy = std::map<guest_address, left_out_section>;

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
  /// Makes `copy` equal to this list. Requires: it is empty and the list was always, or it is what
  /// the last call made of it, whether that failed or not. Requires: no change is in progress.
  /// Cost: log N for each section that has changed since, so that each change costs a log, however
  /// many are left out. Fails: throws `std::bad_alloc`; then call it again.
  void update(left_out_copy& copy) {
    if (all_touched_) {
      copy.clear();
      for (auto const& one : present_) copy.insert(copy.end(), one);
    }
    for (const guest_address first : touched_) {
      if (const auto found = present_.find(first); found == present_.end()) copy.erase(first);
      else copy.insert_or_assign(first, found->second);
    }
    all_touched_ = false;
    touched_.clear();
  }

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
    TETHER_TRY {
      added_.insert_or_assign(one.where.first, left_out_section{describe(one), why});
      return true;
    }
    TETHER_CATCH(std::exception const&) { return false; }
  }
  /// Drops a section left out before, which this change removes.
  void remove(section const& one) noexcept {
    const auto found = find(present_, one);
    if (found == present_.end()) return;
    auto node = present_.extract(found);
    if (!rolls_back_) removed_.insert(std::move(node));
    touch(one.where.first);
  }
  /// In a rollback: whether the change that is rolled back removed this section from here. Ensures:
  /// if so it is left out again, for its old reason. Requires: the removals were applied.
  [[nodiscard]] bool restore(section const& one) noexcept {
    if (!rolls_back_) return false;
    const auto found = find(removed_, one);
    if (found == removed_.end()) return false;
    present_.insert(removed_.extract(found));
    touch(one.where.first);
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
    for (auto const& [first, one] : added_) touch(first);
    present_.merge(added_);
    roll_back();
  }
  void clear() noexcept {
    present_.clear();
    removed_.clear();
    touch_all();
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

  /// Notes for `update` what has changed, unless that is as much as a whole copy, or nobody asks.
  void touch(guest_address first) noexcept {
    if (all_touched_ || touched_.size() > present_.size()) return touch_all();
    TETHER_TRY {
      touched_.push_back(first);
      version_ += 1;
    }
    TETHER_CATCH(std::exception const&) { touch_all(); }
  }
  void touch_all() noexcept {
    version_ += 1;
    all_touched_ = true;
    touched_.clear();
  }

  sections present_;
  sections removed_;  // by the last change, if it happened: it may be rolled back
  sections added_;
  bool rolls_back_ = false;
  std::uint64_t version_ = 0;
  std::vector<guest_address> touched_;  // since the last `update`
  bool all_touched_ = false;
};

/// The list that containers keep.
using left_out_list = basic_left_out_list<>;

}  // namespace tether
