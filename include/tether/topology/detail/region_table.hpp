// SPDX-License-Identifier: BSL-1.0
// The placed regions, indexed by address, and the edits of the open transaction: they are applied
// at once and logged, so that they can be rolled back without allocating.
//
// The index is sorted by size class k (2^(k-1) < bytes <= 2^k), then by first byte: a region that
// overlaps an extent begins at most 2^k bytes in front of it, so a look-up visits few others.
#pragma once

#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/region.hpp>
#include <tether/topology/section.hpp>

#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace tether::detail {

/// Sorts, and joins extents that overlap or are adjacent.
inline void coalesce(std::vector<extent<guest_address>>& extents) {
  std::sort(extents.begin(), extents.end(),
            [](auto const& a, auto const& b) { return a.first < b.first; });
  std::size_t kept = 0;
  for (auto const& next : extents) {
    if (kept != 0 && (extents[kept - 1].overlaps(next) || extents[kept - 1].meets(next)))
      extents[kept - 1].last = std::max(extents[kept - 1].last, next.last);
    else extents[kept++] = next;
  }
  extents.erase(extents.begin() + static_cast<std::ptrdiff_t>(kept), extents.end());
}

/// One placed region.
struct placed_region {
  extent<guest_address> where{};
  int priority = 0;
  /// Among equal priorities the later wins.
  std::uint64_t order = 0;
  region_kind kind = region_kind::ram;
  block_offset offset{};
  bool read_only = false;
  bool unmergeable = false;
  bool dirty_log = false;
  bool enabled = true;
  bool block_is_writable = true;
  bool exclusive = false;
  section_owner_pointer owner;

  [[nodiscard]] bool has_memory() const noexcept { return owner->memory() != nullptr; }
  [[nodiscard]] bool hides(placed_region const& other) const noexcept {
    return priority != other.priority ? priority > other.priority : order > other.order;
  }
};

/// Not thread-safe. An edit that fails throws `std::bad_alloc` and changes nothing.
class region_table {
 public:
  [[nodiscard]] placed_region const* find(region_id id) const noexcept {
    const auto at = regions_.find(id.value);
    return at == regions_.end() ? nullptr : &at->second;
  }

  /// Calls `visit(placed_region const&)` for each enabled region that overlaps `within`, in no
  /// special order.
  template <class Visit>
  void for_each_in(extent<guest_address> within, Visit visit) const {
    for (unsigned size_class = 0; size_class < in_class_.size(); ++size_class) {
      if (in_class_[size_class] == 0) continue;
      const std::uint64_t reach = size_class == 0 ? 0 : ~std::uint64_t{0} >> (64 - size_class);
      const std::uint64_t from = within.first.value > reach ? within.first.value - reach : 0;
      for (auto at = index_.lower_bound({size_class, from, 0});
           at != index_.end() && at->size_class == size_class; ++at) {
        if (at->first > within.last.value) break;
        if (at->region->enabled && at->region->where.overlaps(within)) visit(*at->region);
      }
    }
  }

  /// Calls `visit(section_owner const&)` for every region, including those that the open
  /// transaction has removed and a roll-back would restore.
  template <class Visit>
  void for_each_owner(Visit visit) const {
    for (auto const& [id, region] : regions_) visit(*region.owner);
    for (edit const& entry : log_) {
      if (!entry.node.empty()) visit(*entry.node.mapped().owner);
    }
  }

  /// Another enabled region with memory that overlaps `where`, if it or `exclusive` asks for none;
  /// null if there is none. `self` may lie there.
  [[nodiscard]] placed_region const* in_the_way(extent<guest_address> where, bool exclusive,
                                                placed_region const* self) const {
    if (!exclusive && !any_exclusive_) return nullptr;
    placed_region const* found = nullptr;
    for_each_in(where, [&](placed_region const& one) {
      if (&one != self && one.has_memory() && (exclusive || one.exclusive)) found = &one;
    });
    return found;
  }

  region_id place(region const& what, section_owner_pointer owner, extent<guest_address> where,
                  int priority) {
    const std::uint64_t id = last_id_ + 1;
    edit& entry = append_edit();
    TETHER_TRY {
      const auto at = regions_.try_emplace(id).first;
      at->second = {where,
                    priority,
                    id,
                    what.kind(),
                    what.offset(),
                    what.is_read_only(),
                    what.is_unmergeable(),
                    what.has_dirty_log(),
                    true,
                    what.block_is_writable(),
                    what.is_exclusive(),
                    std::move(owner)};
      index_.insert(key_of(id, at->second));
    }
    TETHER_CATCH(...) {
      regions_.erase(id);
      log_.pop_back();
      TETHER_RETHROW;
    }
    any_exclusive_ = any_exclusive_ || what.is_exclusive();
    last_id_ = id;
    ++in_class_[class_of(where)];
    entry.id = id;
    entry.undo = undo_by::erasing;
    entry.after = where;
    return {id};
  }

  void remove(region_id id) {
    edit& entry = append_edit();
    const auto at = regions_.find(id.value);
    entry.id = id.value;
    entry.undo = undo_by::inserting;
    entry.before = at->second.where;
    --in_class_[class_of(at->second.where)];
    entry.index_node = index_.extract(key_of(id.value, at->second));
    entry.node = regions_.extract(at);
  }

  void move(region_id id, extent<guest_address> to) {
    edit& entry = append_edit();
    placed_region& region = regions_.find(id.value)->second;
    const key here = key_of(id.value, region);
    const key there{class_of(to), to.first.value, id.value, &region};
    entry.id = id.value;
    entry.before = region.where;
    entry.after = to;
    if (to == region.where) return;
    TETHER_TRY { index_.insert(there); }
    TETHER_CATCH(...) {
      log_.pop_back();
      TETHER_RETHROW;
    }
    entry.undo = undo_by::moving;
    entry.index_node = index_.extract(here);
    --in_class_[class_of(region.where)];
    ++in_class_[class_of(to)];
    region.where = to;
  }

  void set_flag(region_id id, bool placed_region::* flag, bool on) {
    edit& entry = append_edit();
    placed_region& region = regions_.find(id.value)->second;
    entry.id = id.value;
    entry.undo = undo_by::flipping;
    entry.flag = flag;
    entry.was = region.*flag;
    // The dirty log flag is not part of a section, so it changes no extent.
    if (region.*flag != on && flag != &placed_region::dirty_log) entry.before = region.where;
    region.*flag = on;
  }

  /// How many edits the open transaction has made: a savepoint for `roll_back_to`.
  [[nodiscard]] std::size_t mark() const noexcept { return log_.size(); }

  /// Rolls back every edit after `mark`, last one first.
  void roll_back_to(std::size_t mark) noexcept {
    while (log_.size() > mark) {
      roll_back(log_.back());
      log_.pop_back();
    }
  }
  /// Makes the edits permanent.
  void keep() noexcept { log_.clear(); }

  /// The guest addresses that the edits touched: sorted, disjoint. `changed` gives its memory.
  using extents = std::vector<extent<guest_address>>;
  [[nodiscard]] extents changed_extents(extents changed = {}) const {
    changed.clear();
    for (edit const& entry : log_) {
      if (entry.before) changed.push_back(*entry.before);
      if (entry.after) changed.push_back(*entry.after);
    }
    coalesce(changed);
    return changed;
  }

  /// Calls `visit(memory_backing&)` for each edit that changed whether, where or how memory appears
  /// in the map.
  template <class Visit>
  void for_each_edited_memory(Visit visit) const noexcept {
    for (edit const& entry : log_) {
      if (!entry.before && !entry.after) continue;
      placed_region const* const region =
          entry.node.empty() ? find({entry.id}) : &entry.node.mapped();
      if (region != nullptr && region->owner->memory() != nullptr) visit(*region->owner->memory());
    }
  }

 private:
  struct key {
    unsigned size_class;
    std::uint64_t first;
    std::uint64_t id;
    placed_region const* region = nullptr;

    friend std::strong_ordering operator<=>(key const& a, key const& b) noexcept {
      if (const auto by_class = a.size_class <=> b.size_class; by_class != 0) return by_class;
      if (const auto by_first = a.first <=> b.first; by_first != 0) return by_first;
      return a.id <=> b.id;
    }
  };
  enum class undo_by : std::uint8_t { nothing, erasing, inserting, moving, flipping };
  struct edit {
    undo_by undo = undo_by::nothing;
    bool was = false;
    bool placed_region::* flag = nullptr;
    std::uint64_t id = 0;
    std::optional<extent<guest_address>> before;
    std::optional<extent<guest_address>> after;
    std::map<std::uint64_t, placed_region>::node_type node;
    std::set<key>::node_type index_node;
  };

  static unsigned class_of(extent<guest_address> where) noexcept {
    return static_cast<unsigned>(std::bit_width(where.last - where.first));
  }
  static key key_of(std::uint64_t id, placed_region const& region) noexcept {
    return {class_of(region.where), region.where.first.value, id, &region};
  }

  edit& append_edit() { return log_.emplace_back(); }

  /// Rolls one edit back. Reinserts extracted nodes, so it never allocates.
  void roll_back(edit& entry) noexcept {
    switch (entry.undo) {
      case undo_by::nothing: return;
      case undo_by::erasing: {
        const auto at = regions_.find(entry.id);
        --in_class_[class_of(at->second.where)];
        index_.erase(key_of(entry.id, at->second));
        regions_.erase(at);
        return;
      }
      case undo_by::inserting:
        regions_.insert(std::move(entry.node));
        index_.insert(std::move(entry.index_node));
        ++in_class_[class_of(*entry.before)];
        return;
      case undo_by::moving: {
        placed_region& region = regions_.find(entry.id)->second;
        index_.erase(key_of(entry.id, region));
        --in_class_[class_of(region.where)];
        region.where = *entry.before;
        index_.insert(std::move(entry.index_node));
        ++in_class_[class_of(region.where)];
        return;
      }
      case undo_by::flipping: regions_.find(entry.id)->second.*entry.flag = entry.was; return;
    }
  }

  std::map<std::uint64_t, placed_region> regions_;
  std::set<key> index_;
  std::array<std::size_t, 65> in_class_{};
  std::vector<edit> log_;
  std::uint64_t last_id_ = 0;
  bool any_exclusive_ = false;
};

}  // namespace tether::detail
