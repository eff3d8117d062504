// SPDX-License-Identifier: BSL-1.0
// The expected layout of a guest's memory, computed the slow way: each page asks every region, and
// a difference compares every section with every other. Too slow for use, too simple to be wrong.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>
#include <tether/topology/detail/region_table.hpp>
#include <tether/topology/region.hpp>
#include <tether/topology/section.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tether_test {

/// Regions on whole pages of 4 KiB in a guest of `pages` pages, the first of them at `origin`.
class reference_map {
 public:
  static constexpr std::uint64_t page = 4096;

  struct placed {
    tether::region what;
    std::uint64_t first_page;
    int priority;
    std::uint64_t order;
    bool enabled = true;
    bool read_only = false;
  };

  explicit reference_map(std::uint64_t pages, std::uint64_t origin = 0)
      : pages_{pages}, origin_{origin} {}

  std::map<std::uint64_t, placed> regions;  ///< by the value of the region's id

  void place(tether::region_id id, tether::region const& what, std::uint64_t first_page,
             int priority) {
    regions.emplace(id.value,
                    placed{what, first_page, priority, next_++, true, what.is_read_only()});
  }

  [[nodiscard]] std::vector<tether::section> sections() const {
    std::vector<tether::section> all;
    placed const* before = nullptr;
    for (std::uint64_t at = 0; at < pages_; ++at) {
      placed const* const seen = seen_at(at);
      if (seen != nullptr) {
        const tether::section one{{tether::guest_address{origin_ + at * page},
                                   tether::guest_address{origin_ + at * page + page - 1}},
                                  seen->what.memory(),
                                  seen->what.offset() + (at - seen->first_page) * page,
                                  seen->what.kind(),
                                  seen->read_only,
                                  seen->what.is_unmergeable(),
                                  seen->what.name().view()};
        if (before == seen || (before != nullptr && carries_on(all.back(), one)))
          all.back().where.last = one.where.last;
        else all.push_back(one);
      }
      before = seen;
    }
    return all;
  }

 private:
  [[nodiscard]] placed const* seen_at(std::uint64_t at) const {
    placed const* best = nullptr;
    for (auto const& [id, one] : regions) {
      if (!one.enabled || at < one.first_page || at >= one.first_page + one.what.size() / page)
        continue;
      if (best == nullptr || one.priority > best->priority ||
          (one.priority == best->priority && one.order > best->order))
        best = &one;
    }
    return best;
  }
  static bool carries_on(tether::section const& a, tether::section const& b) {
    return a.memory != nullptr && a.memory == b.memory &&
           a.offset.value + a.where.size() == b.offset.value && a.kind == b.kind &&
           a.read_only == b.read_only && !a.unmergeable && !b.unmergeable;
  }

  std::uint64_t pages_;
  std::uint64_t origin_;
  std::uint64_t next_ = 0;
};

/// Those of `these` that `those` lacks.
[[nodiscard]] inline std::vector<tether::section> missing(
    std::vector<tether::section> const& these, std::vector<tether::section> const& those) {
  std::vector<tether::section> found;
  for (auto const& one : these)
    if (std::find(those.begin(), those.end(), one) == those.end()) found.push_back(one);
  return found;
}

/// For messages.
[[nodiscard]] inline std::string drawn(std::vector<tether::section> const& sections) {
  std::string text;
  for (auto const& one : sections)
    text += std::string{one.name} + "[" + std::to_string(one.where.first.value / 4096) + ".." +
            std::to_string(one.where.last.value / 4096) + "] ";
  return text;
}

}  // namespace tether_test
