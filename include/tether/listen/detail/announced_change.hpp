// SPDX-License-Identifier: BSL-1.0
// One change as it is announced to a listener, from `begin` to the end of `commit`: the sections
// removed and added that pass its feed, with memory reserved to roll back.
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/topology/memory_listener.hpp>
#include <tether/topology/section.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <vector>

namespace tether::detail {

/// One change at a time. `Feed` is `checked_feed` or `trusted_feed`. Not thread-safe.
template <class Feed>
class announced_change {
 public:
  void begin(commit_kind kind) noexcept {
    kind_ = kind;
    clear();
    feed_.begin();
  }
  /// Begins the inverse of the change that has just ended.
  void begin_rollback() noexcept {
    begin(commit_kind::compulsory);
    rolls_back_ = true;
  }
  void remove(section one) noexcept {
    if (feed_.removes(one)) append(removed_, one);
  }
  /// Everything that is present. Requires: the feed remembers it.
  void remove_all() noexcept {
    while (section const* const one = feed_.any()) remove(*one);
  }
  /// Reserves memory for the inverse change as well, so that a rollback and a removal never
  /// allocate.
  void add(section one) noexcept {
    if (!feed_.adds(one)) return;
    reserve(present_ + added_.size() + 1);
    append(added_, one);
  }
  /// Called once every removal and addition is announced.
  void validate() noexcept {
    if (!feed_.validate(added_)) out_of_memory_ = true;
  }
  /// Fails: what the feed found wrong.
  [[nodiscard]] result<void> verdict() const noexcept { return feed_.verdict(); }
  /// Ends the change. If it has not `happened`, the sections are those from before `begin`.
  /// Ensures: announced names are no longer used.
  void end(bool happened) noexcept {
    if (happened)
      present_ = present_ + added_.size() - std::min(present_ + added_.size(), removed_.size());
    clear();
    feed_.end(happened);
  }
  /// Forgets all sections.
  void reset() noexcept {
    present_ = 0;
    feed_.reset();
  }

  [[nodiscard]] commit_kind kind() const noexcept { return kind_; }
  [[nodiscard]] bool rolls_back() const noexcept { return rolls_back_; }
  [[nodiscard]] std::vector<section_plan>& removed() noexcept { return removed_; }
  [[nodiscard]] std::vector<section_plan>& added() noexcept { return added_; }
  /// How many removed sections there is memory for.
  [[nodiscard]] std::size_t room() const noexcept { return removed_.capacity(); }
  [[nodiscard]] bool out_of_memory() const noexcept { return out_of_memory_; }
  void note_out_of_memory() noexcept { out_of_memory_ = true; }

 private:
  void clear() noexcept {
    removed_.clear();
    added_.clear();
    out_of_memory_ = false;
    rolls_back_ = false;
  }
  void append(std::vector<section_plan>& list, section const& one) noexcept {
    TETHER_TRY { list.push_back({.what = one}); }
    TETHER_CATCH(std::exception const&) { out_of_memory_ = true; }
  }
  void reserve(std::size_t sections) noexcept {
    TETHER_TRY {
      for (auto* list : {&removed_, &added_})
        if (list->capacity() < sections) list->reserve(std::max(sections, 2 * list->capacity()));
    }
    TETHER_CATCH(std::exception const&) { out_of_memory_ = true; }
  }

  std::vector<section_plan> removed_;
  std::vector<section_plan> added_;
  std::size_t present_ = 0;  // sections present, mapped or left out
  commit_kind kind_ = commit_kind::refusable;
  bool out_of_memory_ = false;
  bool rolls_back_ = false;
  [[no_unique_address]] Feed feed_{};
};

}  // namespace tether::detail
