// SPDX-License-Identifier: BSL-1.0
// Whether a listener validates the changes announced to it. `address_space` is right by
// construction, since its differences come from views; a VMM's own memory model may be wrong, so
// each change is checked against the earlier ones.
//
//     present   |####|    |####|####|     remove: must equal one of these; moves it to `removed`
//     added          |####|               add: must overlap neither present nor added ones
//
//     change applied: `added` becomes present      refused: `removed` becomes present again
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/errc.hpp>
#include <tether/core/error.hpp>
#include <tether/core/label.hpp>
#include <tether/listen/detail/section_order.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/topology/section.hpp>

#include <cstdint>
#include <exception>
#include <forward_list>
#include <iterator>
#include <optional>
#include <set>
#include <system_error>
#include <vector>

namespace tether::detail {

/// For a feeder that is right by construction: no state, no code. Requires: each removal is equal
/// to an earlier addition, no two sections present overlap, each lies within its memory, names live
/// until `commit` has returned, and each commit has its `begin`.
template <class Order>
struct basic_trusted_feed {
  using order = Order;
  static constexpr bool remembers = false;
  static constexpr void begin() noexcept {}
  static constexpr bool removes(section&) noexcept { return true; }
  static constexpr bool adds(section&) noexcept { return true; }
  static constexpr bool validate(std::vector<section_plan> const&) noexcept { return true; }
  static result<void> verdict() noexcept { return {}; }
  static constexpr void end(bool) noexcept {}
  static constexpr void reset() noexcept {}
};

/// Validates everything. A wrong removal or addition is not done and is an error: a refusable
/// change is then refused as a whole, of a compulsory one the rest is done. Names need to live for
/// the call only. The memory of sections present is retained: it cannot be freed.
/// Cost: some 100 bytes and O(log n) for each of the n sections present; a removal and a rollback
/// need no memory.
template <class Order>
class basic_checked_feed {
 public:
  using order = Order;
  static constexpr bool remembers = true;  ///< what is present

  basic_checked_feed() noexcept = default;
  basic_checked_feed(basic_checked_feed const&) = delete;
  basic_checked_feed& operator=(basic_checked_feed const&) = delete;
  ~basic_checked_feed() { reset(); }

  /// One that is present, and not removed by the change in progress; null if there is none.
  [[nodiscard]] section const* any() const noexcept {
    return present_.empty() ? nullptr : &*present_.begin();
  }
  /// Drops a change that was begun and never committed.
  void begin() noexcept {
    end(false);
    open_ = true;
  }
  /// Whether `one` is present. Ensures: if so it counts as removed, and its name is valid until the
  /// change ends.
  [[nodiscard]] bool removes(section& one) noexcept {
    if (!open_) return false;
    const auto found = present_.find(one.where.first);
    if (found == present_.end() || *found != one) {
      note(why_not_there(one));
      return false;
    }
    removed_.insert(present_.extract(found));
    keep_name(one);
    return true;
  }
  /// Whether a change is in progress. Ensures: the name of `one` is valid until it ends.
  [[nodiscard]] bool adds(section& one) noexcept {
    if (open_) keep_name(one);
    return open_;
  }
  /// Called once all is announced: drops the additions that are wrong. False: out of memory for one
  /// that is right.
  [[nodiscard]] bool validate(std::vector<section_plan>& added) noexcept {
    bool recorded = true;
    std::erase_if(added, [&](section_plan const& plan) {
      if (const auto wrong = fault_of(plan.what)) {
        note(*wrong);
        return true;
      }
      TETHER_TRY {
        section one = plan.what;
        one.name = {};
        added_.insert(one);
        return false;
      }
      TETHER_CATCH(std::exception const&) {
        recorded = false;
        return true;
      }
    });
    return recorded;
  }
  /// Fails: the first thing that was wrong. `invalid_extent`; `not_mapped` where nothing is
  /// present, `cuts_a_mapping` where part of a section is, `invalid_argument` where others are, or
  /// where a section names no memory; `overlaps`; `past_the_end`; `operation_not_permitted`
  /// (tether[M4]) without a `begin`.
  [[nodiscard]] result<void> verdict() const noexcept {
    if (!open_)
      return failure(
          error{"commit", std::make_error_code(std::errc::operation_not_permitted)}.advise(
              "tether[M4]: call begin() first; nothing has changed"));
    return wrong_ ? failure(*wrong_) : result<void>{};
  }
  void end(bool happened) noexcept {
    if (happened) {
      for (section const& one : added_)
        if (one.memory != nullptr) one.memory->retain();
      release(removed_);
    }
    (happened ? removed_ : added_).clear();
    present_.merge(happened ? added_ : removed_);
    names_.clear();
    wrong_.reset();
    open_ = false;
  }
  /// Forgets all sections.
  void reset() noexcept {
    end(false);
    release(present_);
    present_.clear();
  }

 private:
  /// Disjoint, ordered by first address, without names.
  using sections = std::set<section, by_place<Order>>;

  static void release(sections const& gone) noexcept {
    for (section const& one : gone)
      if (one.memory != nullptr) one.memory->release();
  }

  /// The last of those that `one` overlaps, or null.
  static section const* overlapped(sections const& all, section const& one) noexcept {
    const auto behind = all.upper_bound(one.where.last);
    if (behind == all.begin() || !std::prev(behind)->where.overlaps(one.where)) return nullptr;
    return &*std::prev(behind);
  }
  std::optional<error> fault_of(section const& one) const noexcept {
    const auto wrong = [&](std::error_code why) {
      return error{"add", why}.at(one.where).of(one.name);
    };
    if (one.where.last < one.where.first) return wrong(make_error_code(errc::invalid_extent));
    if (one.kind != region_kind::mmio && one.kind != region_kind::iommu_window) {
      if (one.memory == nullptr)
        return wrong(std::make_error_code(std::errc::invalid_argument))
            .advise("name the memory that lies there");
      const std::uint64_t size = one.memory->size();
      if (one.offset.value >= size || one.where.last - one.where.first >= size - one.offset.value) {
        return wrong(make_error_code(errc::past_the_end))
            .advise("its memory ends at {} byte{|s}", size);
      }
    }
    if (overlapped(present_, one) != nullptr || overlapped(added_, one) != nullptr) {
      return wrong(make_error_code(errc::overlaps)).advise("remove what lies there first");
    }
    return std::nullopt;
  }
  error why_not_there(section const& one) const noexcept {
    const auto wrong = [&](std::error_code why) {
      return error{"remove", why}.at(one.where).of(one.name).advise(
          "remove each section as it was added, once");
    };
    if (one.where.last < one.where.first) return wrong(make_error_code(errc::invalid_extent));
    section const* const other = overlapped(present_, one);
    if (other == nullptr) return wrong(make_error_code(errc::not_mapped));
    if (!one.where.contains(other->where)) return wrong(make_error_code(errc::cuts_a_mapping));
    return wrong(std::make_error_code(std::errc::invalid_argument));
  }
  void note(error const& why) noexcept {
    if (!wrong_) wrong_ = why;
  }
  /// Copies the name; if out of memory, the section gets an empty one.
  void keep_name(section& one) noexcept {
    TETHER_TRY {
      names_.emplace_front(one.name);
      one.name = names_.front().view();
    }
    TETHER_CATCH(std::exception const&) { one.name = {}; }
  }

  sections present_;
  sections removed_;
  sections added_;
  std::forward_list<label> names_;
  std::optional<error> wrong_;
  bool open_ = false;
};

using trusted_feed = basic_trusted_feed<section_order>;
using checked_feed = basic_checked_feed<section_order>;

}  // namespace tether::detail
