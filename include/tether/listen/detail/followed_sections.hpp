// SPDX-License-Identifier: BSL-1.0
// The sections of divided memory that a listener has mapped: only their populated units are mapped,
// and the memory's population tells the listener of each unit that goes or comes.
//
//     present | 0x1000  0x8000 |      removed by a change: kept until it cannot be rolled back
//     added   | 0x4000 |              change happened: becomes present      refused: dropped
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/listen/detail/section_order.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/topology/detail/unit_follower.hpp>
#include <tether/topology/population.hpp>

#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace tether::detail {

/// One of them. `plan` covers it whole; a bit for each unit that it touches says what may be
/// mapped.
struct followed_section : unit_follower {
  section_plan plan{};
  population* units = nullptr;
  std::uint64_t first_unit = 0;
  std::vector<bool> mapped{};
  std::vector<bool> was_mapped{};  ///< before an unmap that may be rolled back
  label name{};
  bool enrolled = false;  ///< the population tells of its units
  std::unique_ptr<followed_section> next_stuck{};

  [[nodiscard]] std::vector<bool>::reference is_mapped(std::uint64_t unit) noexcept {
    return mapped[static_cast<std::size_t>(unit - first_unit)];
  }
  [[nodiscard]] std::uint64_t end_unit() const noexcept { return first_unit + mapped.size(); }
};

/// The part of a plan that lies in some bytes of its memory. Requires: they overlap.
template <granularity Granularity>
[[nodiscard]] section_plan part_of(section_plan const& all, extent<block_offset> bytes,
                                   page_sizes sizes) noexcept {
  const auto memory = all.fit.inside.where.moved_to(all.offset);
  const auto part = *memory.intersection(bytes);
  const std::uint64_t skipped = part.first - memory.first;
  section_plan one = all;
  one.fit.inside.where = part.moved_to(all.fit.inside.where.first + skipped);
  one.fit.inside.host = all.fit.inside.host + skipped;
  one.offset = part.first;
  one.pieces = Granularity::pieces(one.fit.inside, one.offset, sizes);
  return one;
}

/// All of one listener. Not thread-safe. What is unmapped of them still counts against the budget:
/// it may come back at any time.
template <class Order>
class followed_sections {
 public:
  [[nodiscard]] bool empty() const noexcept { return present_.empty() && added_.empty(); }
  /// Mappings that the units which are discarded now would take.
  [[nodiscard]] std::uint64_t reserved() const noexcept { return reserved_; }
  /// Bytes of sections that are not mapped because their units are discarded.
  [[nodiscard]] std::uint64_t discarded() const noexcept { return discarded_; }

  void begin_change(bool rolls_back) noexcept {
    if (!rolls_back) removed_.clear();
  }
  /// The one present before the change, or null.
  [[nodiscard]] followed_section* find(section const& one) noexcept {
    const auto found = present_.find(one.where.first);
    return found != present_.end() && found->second->plan.what == one ? found->second.get()
                                                                      : nullptr;
  }
  /// One that this change adds. In a rollback, the one that was removed. Null: out of memory.
  [[nodiscard]] followed_section* add(section_plan const& plan, population& units) noexcept {
    const auto at = plan.what.where.first;
    if (const auto old = removed_.find(at);
        old != removed_.end() && old->second->plan.what == plan.what) {
      return added_.insert(removed_.extract(old)).position->second.get();
    }
    TETHER_TRY {
      auto made = std::make_unique<followed_section>();
      made->plan = plan;
      made->name = label{plan.what.name};
      made->plan.what.name = made->name.view();
      made->units = &units;
      made->where = plan.fit.inside.where.moved_to(plan.offset);
      made->first_unit = units.unit_at(made->where.first);
      made->mapped.resize(
          static_cast<std::size_t>(units.unit_at(made->where.last) - made->first_unit + 1));
      made->was_mapped = made->mapped;
      return added_.insert_or_assign(at, std::move(made)).first->second.get();
    }
    TETHER_CATCH(std::exception const&) { return nullptr; }
  }
  /// The one that this change added, or null.
  [[nodiscard]] followed_section* added(section const& one) noexcept {
    const auto found = added_.find(one.where.first);
    return found == added_.end() ? nullptr : found->second.get();
  }
  void drop_added(section const& one) noexcept {
    const auto found = added_.find(one.where.first);
    keep_stuck(found->second);
    added_.erase(found);
  }

  /// What is mapped of a section has changed: `part` of it was mapped or unmapped.
  void note_mapped(section_plan const& part) noexcept {
    reserved_ -= part.pieces;
    discarded_ -= part.fit.inside.where.size();
  }
  void note_unmapped(section_plan const& part) noexcept {
    reserved_ += part.pieces;
    discarded_ += part.fit.inside.where.size();
  }

  /// The change has happened.
  template <class Plans>
  void keep(Plans const& removed_sections) noexcept {
    for (section_plan const& plan : removed_sections) {
      const auto found = present_.find(plan.what.where.first);
      if (found == present_.end() || found->second->plan.what != plan.what) continue;
      auto node = present_.extract(found);
      if (!keep_stuck(node.mapped())) removed_.insert(std::move(node));
    }
    present_.merge(added_);
    added_.clear();
  }
  /// The change has not happened.
  void roll_back() noexcept {
    for (auto& [at, one] : added_) keep_stuck(one);
    added_.clear();
  }

  /// Calls `visit` for each that is present or could not be unmapped.
  template <class Visit>
  void for_each(Visit visit) noexcept {
    for (auto* all : {&present_, &added_})
      for (auto& [at, one] : *all) visit(*one);
    for (auto* one = stuck_.get(); one != nullptr; one = one->next_stuck.get()) visit(*one);
  }
  /// Forgets all. Requires: none is enrolled.
  void clear() noexcept {
    present_.clear();
    removed_.clear();
    added_.clear();
    while (stuck_ != nullptr) stuck_ = std::move(stuck_->next_stuck);
    reserved_ = 0;
    discarded_ = 0;
  }

 private:
  using sections = std::map<guest_address, std::unique_ptr<followed_section>, Order>;

  /// One that could not be unmapped stays enrolled, or its units could be discarded while a device
  /// reaches them. Returns whether it is such a one; then `one` is empty.
  bool keep_stuck(std::unique_ptr<followed_section>& one) noexcept {
    if (!one->enrolled) return false;
    one->next_stuck = std::move(stuck_);
    stuck_ = std::move(one);
    return true;
  }

  sections present_;
  sections removed_;
  sections added_;
  std::unique_ptr<followed_section> stuck_;
  std::uint64_t reserved_ = 0;
  std::uint64_t discarded_ = 0;
};

}  // namespace tether::detail
