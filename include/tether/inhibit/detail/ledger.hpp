// SPDX-License-Identifier: BSL-1.0
// The gate's bookkeeping, without synchronisation: the counts of `kinds.hpp` and the intrusive list
// of the entries that make them up.
#pragma once

#include <tether/core/error.hpp>
#include <tether/core/stop.hpp>
#include <tether/inhibit/detail/hold_entry.hpp>
#include <tether/inhibit/gate_status.hpp>
#include <tether/inhibit/kinds.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <system_error>

namespace tether::detail {

/// Advice for a demand that a hold stands against. A device that is mapped in blocks forbids only
/// discards that are not coordinated.
[[nodiscard]] constexpr const char* how_to_allow(requirement_kind wanted) noexcept {
  return wanted == requirement_kind::any ? "detach what holds them down first"
                                         : "detach what holds them down first, or let it map in "
                                           "blocks (fixed_block<Size>)";
}
/// Why one more of a kind is not counted.
[[nodiscard, gnu::cold]] inline error uncountable(const char* what,
                                                  std::string_view name) noexcept {
  const error why{what, std::make_error_code(std::errc::value_too_large)};
  return why.on_behalf_of(name).advise(
      "a gate counts no more than 4,294,967,295 of a kind: a policy that needs fewer holds does "
      "as well");
}
/// Why a hold was not taken, though nothing that is counted forbids it.
[[nodiscard, gnu::cold]] inline error refused_hold(std::errc why, std::string_view name) noexcept {
  const error plain = error{"take hold", std::make_error_code(why)}.on_behalf_of(name);
  return why == std::errc::resource_deadlock_would_occur
             ? plain.advise("this thread has a permit to discard: let it end first")
             : plain;
}

/// Counts and entries that always agree. Not thread-safe: protected by the gate's lock.
class ledger {
 public:
  constexpr ledger() noexcept = default;
  ledger(ledger const&) = delete;
  ledger& operator=(ledger const&) = delete;

  [[nodiscard]] constexpr gate_counts const& counts() const noexcept { return counts_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return first_ == nullptr; }

  /// Whether `count` more of a kind can be counted. A count that wraps past 2^32 - 1 would open the
  /// gate.
  [[nodiscard]] constexpr bool has_room(entry_kind what, std::uint32_t count) const noexcept {
    gate_counts now = counts_;
    return count <= std::numeric_limits<std::uint32_t>::max() - total(now, what);
  }

  /// Adds `count` to an entry, listing it if it is new. Requires: an entry that is listed keeps its
  /// kind, and there is room.
  constexpr void add(hold_entry& entry, entry_kind what, std::uint32_t count) noexcept {
    if (count == 0) return;
    if (!has_room(what, count))
      stop(
          "tether[I17]: more holds, requirements or suspensions of one kind than a gate can count "
          "(2^32 - 1)");
    if (entry.count_ == 0) {
      entry.what_ = what;
      list(entry);
    } else if (entry.what_ != what) {
      stop("tether[I5]: one holder entry was used for two kinds of hold");
    }
    entry.count_ += count;
    total(counts_, what) += count;
  }

  /// Subtracts `count` from an entry. More than it has stops the program: the assertion that QEMU
  /// lost in 2021.
  constexpr void subtract(hold_entry& entry, std::uint32_t count) noexcept {
    if (count == 0) return;
    if (count > entry.count_) stop("tether[I6]: a hold was released that was not held");
    entry.count_ -= count;
    total(counts_, entry.what_) -= count;
    if (entry.count_ == 0) unlist(entry);
  }

  /// Lets an entry be destroyed that is the parent's, in a child of a fork: the child's copy of the
  /// ledger is used no more.
  static constexpr void forget(hold_entry& entry) noexcept { entry.count_ = 0; }

  /// Moves an entry's name and count to `to`, which has none.
  constexpr void relocate(hold_entry& from, hold_entry& to) noexcept {
    const std::uint32_t count = from.count_;
    to.name_ = from.name_;
    subtract(from, count);
    add(to, from.what_, count);
  }

  /// Calls `visit(holder_info)` for each entry, latest first.
  template <class Visitor>
  constexpr void for_each(Visitor visit) const {
    for (hold_entry const* one = first_; one != nullptr; one = one->next_)
      visit(holder_info{one->name(), one->what_, one->count_});
  }

  /// Copies everything, or answers how many entries `to` must have room for: what waits for the
  /// ledger should not wait for an allocation.
  [[nodiscard]] std::size_t copy_to(gate_status& to) const noexcept {
    std::size_t all = 0;
    to.counts = counts_;
    to.holders.clear();
    for_each([&](holder_info const& one) {
      if (++all <= to.holders.capacity()) to.holders.push_back({one.name, one.what, one.count});
    });
    return all <= to.holders.capacity() ? 0 : all;
  }

  /// The name of the latest entry, empty if there is none.
  [[nodiscard]] constexpr std::string_view latest() const noexcept {
    return first_ != nullptr ? first_->name() : std::string_view{};
  }
  /// The name of the latest entry of kind `this_one` or `that_one`, empty if there is none.
  [[nodiscard]] constexpr std::string_view find(entry_kind this_one,
                                                entry_kind that_one) const noexcept {
    for (hold_entry const* one = first_; one != nullptr; one = one->next_) {
      if (one->what_ == this_one || one->what_ == that_one) return one->name();
    }
    return {};
  }

 private:
  constexpr void list(hold_entry& entry) noexcept {
    entry.next_ = first_;
    if (first_ != nullptr) first_->link_ = &entry.next_;
    first_ = &entry;
    entry.link_ = &first_;
  }
  constexpr void unlist(hold_entry& entry) noexcept {
    *entry.link_ = entry.next_;
    if (entry.next_ != nullptr) entry.next_->link_ = entry.link_;
  }
  static constexpr std::uint32_t& total(gate_counts& of, entry_kind what) noexcept {
    // Nested conditionals, because a switch over five values becomes a jump table.
    if (what < entry_kind::any_requirement)
      return what == entry_kind::any_hold ? of.any_holds : of.uncoordinated_holds;
    if (what < entry_kind::suspension)
      return what == entry_kind::any_requirement ? of.any_requirements
                                                 : of.coordinated_requirements;
    return of.suspensions;
  }

  gate_counts counts_{};
  hold_entry* first_ = nullptr;
};

}  // namespace tether::detail
