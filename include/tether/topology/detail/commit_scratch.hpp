// SPDX-License-Identifier: BSL-1.0
// What a commit needs and does not publish: kept by the writer, so that commits seldom allocate.
#pragma once

#include <tether/topology/detail/difference.hpp>
#include <tether/topology/detail/view_builder.hpp>
#include <tether/topology/flat_view.hpp>

#include <cstddef>

namespace tether::detail {

/// Of one writer. Empty between commits: it keeps no section's memory alive, and little memory.
struct commit_scratch {
  view_scratch view{};
  difference change{};

  /// Used for a scope, and emptied at its end.
  class scope {
   public:
    explicit scope(commit_scratch& used) noexcept : used_{used} {}
    scope(scope const&) = delete;
    scope& operator=(scope const&) = delete;
    ~scope() {
      auto& [made, told] = used_;
      empty(made.changed, made.sweep.waiting, made.sweep.covering, made.flattened.sections,
            made.flattened.owners, made.pieces, made.loose, told.removals, told.additions);
      made.groups.clear();  // a pointer for 2,048 sections of the map: not worth freeing
    }

   private:
    static constexpr std::size_t kept = 128;  // elements: what a few edits need

    /// Keeps no more room than that.
    template <class... Vectors>
    static void empty(Vectors&... all) noexcept {
      (all.clear(), ...);
      ((all.capacity() > kept ? Vectors{}.swap(all) : void()), ...);
    }

    commit_scratch& used_;
  };
};

}  // namespace tether::detail
