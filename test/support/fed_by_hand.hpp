// SPDX-License-Identifier: BSL-1.0
// A VMM with a memory model of its own, which is often wrong, feeds a `dma_listener`. What should
// be mapped is a plain list that is checked against every section; what is mapped is read by a
// device, page by page. For the fuzzer and for a bounded run (scenario).
#pragma once

#include <tether/backend/software_iommu.hpp>
#include <tether/granule/edges.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/ram_block.hpp>

#include <fuzz/input.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tether_test {

/// Called when a check fails; does not return.
using complaint = void (*)(std::string const&);

/// `Block`: the bytes of the pieces that `Granularity` cuts, 0 for whole sections.
template <class Granularity, std::uint64_t Block>
class fed_by_hand {
  using section = tether::section;
  using error = tether::error;
  using errc = tether::errc;
  using region_kind = tether::region_kind;
  using commit_kind = tether::commit_kind;
  using backend_call = tether::backend_call;

  static constexpr std::uint64_t page = 4096;
  static constexpr std::uint64_t guest_pages = 24;
  static constexpr std::uint64_t usable_pages = 20;  // the rest lies beyond the IOMMU's aperture
  static constexpr std::uint64_t block_pages = 16;
  static constexpr std::string_view scrubbed = "scrubbed";

 public:
  struct totals {
    std::uint64_t changes = 0, wrong = 0, refused = 0, compulsory_wrong = 0, left_out = 0,
                  diverged = 0, struck = 0, put_back = 0;
  };

  fed_by_hand(tether_fuzz::input& in, complaint complain) : in_{in}, complain_{complain} {}
  fed_by_hand(fed_by_hand const&) = delete;
  fed_by_hand& operator=(fed_by_hand const&) = delete;

  void run() {
    while (!in_.empty()) one_change();
    book_.clear_faults();
    std::vector<section> all = standing_;
    begin(commit_kind::compulsory);
    for (section const& one : all) remove(one);
    demand(commit().has_value() && listener_.usage() == tether::mapped_usage{} &&
               listener_.left_out().empty(),
           "what was told is taken away again, and nothing is left");
    for (tether::ram_block const* one : {&ram_, &other_, &bar_})
      demand(one->backing().references() == 0, "nothing keeps memory that is not reached");
  }
  [[nodiscard]] totals const& counted() const { return totals_; }

 private:
  struct wrong_thing {
    section what;
    bool removal = false;
  };
  /// One change as it is fed, and what a slow reference model makes of it.
  struct change {
    commit_kind kind = commit_kind::refusable;
    std::vector<section> removals, additions;
    std::vector<section> goes, comes;  // those that are valid
    std::vector<wrong_thing> wrong;
  };

  void demand(bool holds, const char* what) const {
    if (!holds) complain_(what);
  }

  // Sections to feed, right and wrong.

  section some_section(std::uint64_t first, std::uint64_t pages) {
    section one{.where = {place(first), place(first + pages) - 1},
                .name = names_.at(in_.below(names_.size()))};
    const auto last_offset = block_pages - std::min(pages, block_pages);
    one.offset = tether::block_offset{in_.below(last_offset + 1) * page};
    one.read_only = in_.below(4) == 0;
    one.unmergeable = in_.below(8) == 0;
    switch (in_.below(8)) {
      case 0: one.kind = region_kind::mmio; break;
      case 1:
      case 2:
      case 3:
        one.kind = region_kind::ram_device;
        one.memory = &bar_.backing();
        break;
      case 4:
        one.kind = region_kind::rom;
        one.memory = &other_.backing();
        break;
      default: one.memory = &ram_.backing(); break;
    }
    return one;
  }
  /// RAM beyond the aperture is always refused, so mostly BARs and registers are placed there.
  section addition() {
    const std::uint64_t pages = 1 + in_.below(5);
    section one = some_section(free_place(in_.below(guest_pages - pages + 1), pages), pages);
    const bool beyond = one.where.last.value >= usable_pages * page;
    if (beyond && one.kind != region_kind::mmio && one.kind != region_kind::ram_device &&
        in_.below(8) != 0) {
      one.kind = region_kind::ram_device;
      one.memory = &bar_.backing();
    }
    if (!errs()) return one;
    switch (in_.below(6)) {
      case 0: std::swap(one.where.first, one.where.last); break;  // wraps
      case 1: one.where = {place(in_.below(guest_pages)), tether::guest_address{0} - 1}; break;
      case 2: one.memory = nullptr; break;
      case 3: one.offset = tether::block_offset{(block_pages - in_.below(2)) * page}; break;
      case 4: one.offset = tether::block_offset{~std::uint64_t{0} - in_.below(3) * page}; break;
      default:
        one.where = {tether::guest_address{0}, tether::guest_address{~std::uint64_t{0}}};
        break;
    }
    return one;
  }
  section removal() {
    if (there_.empty()) return addition();
    section one = there_[in_.below(there_.size())];
    if (!errs()) {
      take(there_, one);
      return one;
    }
    switch (in_.below(11)) {
      // a part of it, or not mapped at all
      case 0: one.where.first = one.where.first + page; break;
      case 1: one.where.last = one.where.last - page; break;
      case 2: one.where.last = one.where.last + page * (1 + in_.below(4)); break;
      case 3: one.offset = one.offset + page; break;
      case 4: one.read_only = !one.read_only; break;
      case 5:
        one.memory = one.memory == &ram_.backing() ? &other_.backing() : &ram_.backing();
        break;
      case 6: one.kind = one.kind == region_kind::ram ? region_kind::rom : region_kind::ram; break;
      case 7: return whole_run(one);
      case 8: return addition();
      case 9: std::swap(one.where.first, one.where.last); break;
      default: break;  // removed twice, if this change removes it already; else valid
    }
    return one;
  }
  bool errs() { return in_.below(careful_ ? 64 : 5) == 0; }
  /// The first page from `from` on, wrapping around, where nothing is placed; an erring VMM does
  /// not look.
  std::uint64_t free_place(std::uint64_t from, std::uint64_t pages) {
    if (errs()) return from;
    const std::uint64_t places = guest_pages - pages + 1;
    for (std::uint64_t i = 0; i != places; ++i) {
      const std::uint64_t first = (from + i) % places;
      if (!any_overlaps(there_, {.where = {place(first), place(first + pages) - 1}})) return first;
    }
    return from;
  }
  /// `one` and all sections that follow it without a gap, as one section.
  section whole_run(section one) const {
    for (bool grown = true; grown;) {
      grown = false;
      for (section const& next : standing_) {
        if (!one.where.meets(next.where)) continue;
        one.where.last = next.where.last;
        grown = true;
      }
    }
    return one;
  }

  // The slow reference model.

  static bool any_overlaps(std::vector<section> const& all, section const& one) {
    return std::any_of(all.begin(), all.end(), [&](section const& other) {
      return !(other.where.last.value < one.where.first.value ||
               one.where.last.value < other.where.first.value);
    });
  }
  static bool take(std::vector<section>& all, section const& one) {
    const auto found = std::find(all.begin(), all.end(), one);
    if (found == all.end()) return false;
    all.erase(found);
    return true;
  }
  void judge(change& told) const {
    std::vector<section> there = standing_;
    for (section const& one : told.removals) {
      if (take(there, one)) told.goes.push_back(one);
      else told.wrong.push_back({one, true});
    }
    for (section const& one : told.additions) {
      bool right = one.where.first.value <= one.where.last.value && !any_overlaps(there, one);
      if (one.kind != region_kind::mmio) {
        __extension__ using wide = unsigned __int128;
        right = right && one.memory != nullptr &&
                wide{one.offset.value} + one.where.last.value - one.where.first.value + 1 <=
                    wide{one.memory->size()};
      }
      if (right) {
        there.push_back(one);
        told.comes.push_back(one);
      } else {
        told.wrong.push_back({one, false});
      }
    }
  }
  /// Whether `why` is an error that may be reported for this wrong thing.
  bool may_be_called(wrong_thing const& one, error const& why) const {
    if (why.extent_space() != tether::space::guest_physical ||
        why.first() != one.what.where.first.value)
      return false;
    if (why.last() != one.what.where.last.value || why.subject() != one.what.name) return false;
    if (std::string_view{why.operation()} != (one.removal ? "remove" : "add")) return false;
    if (one.what.where.last < one.what.where.first) return why.is(errc::invalid_extent);
    const bool invalid = why.code() == std::make_error_code(std::errc::invalid_argument);
    if (one.removal) return invalid || why.is(errc::not_mapped) || why.is(errc::cuts_a_mapping);
    return invalid ? one.what.memory == nullptr
                   : why.is(errc::past_the_end) || why.is(errc::overlaps);
  }

  // Feeding. Names live for the call only.

  void begin(commit_kind kind) { listener_.begin(kind); }
  template <class Call>
  void call_with_short_lived_name(section one, Call call) {
    std::array<char, 16> text{};
    std::copy(one.name.begin(), one.name.end(), text.begin());
    one.name = {text.data(), one.name.size()};
    call(one);
    std::copy(scrubbed.begin(), scrubbed.end(), text.begin());
  }
  void remove(section const& one) {
    call_with_short_lived_name(one, [&](section const& told) { listener_.remove(told); });
  }
  void add(section const& one) {
    call_with_short_lived_name(one, [&](section const& told) { listener_.add(told); });
  }
  tether::result<void> commit() { return listener_.commit(); }

  // One change, and its expected outcome.

  void one_change() {
    change now;
    now.kind = in_.below(3) == 0 ? commit_kind::compulsory : commit_kind::refusable;
    there_ = standing_;
    for (auto n = in_.below(4); n-- > 0;) now.removals.push_back(removal());
    if (!now.removals.empty() && in_.below(3) == 0) {  // removed and added again
      now.additions.push_back(now.removals.front());
      there_.push_back(now.removals.front());
      totals_.put_back += 1;
    }
    for (auto n = in_.below(4); n-- > 0;) {
      now.additions.push_back(addition());
      there_.push_back(now.additions.back());
    }
    judge(now);
    arm();
    const auto before = snapshot();
    const auto faults = book_.faults_left();
    tell(now);
    const auto outcome = commit();
    const bool struck = book_.faults_left() != faults;
    book_.clear_faults();
    totals_.changes += 1;
    totals_.wrong += now.wrong.empty() ? 0U : 1U;
    totals_.struck += struck ? 1U : 0U;
    if (!outcome)
      demand(outcome.error().subject() != scrubbed,
             "names are kept for as long as they are needed");
    if (listener_.diverged()) return recover(now, struck, outcome);
    if (!now.wrong.empty()) {
      demand(!outcome.has_value(), "whoever tells what is wrong is told so");
      const bool named = std::any_of(now.wrong.begin(), now.wrong.end(), [&](auto& one) {
        return may_be_called(one, outcome.error());
      });
      demand(named || now.kind == commit_kind::compulsory, "what was wrong is named");
      if (now.kind == commit_kind::compulsory) totals_.compulsory_wrong += 1;
    }
    if (!outcome && now.kind == commit_kind::refusable) {
      demand(!outcome.error().rollback_failed(), "who is not diverged is not stuck");
      demand(snapshot() == before,
             "a refused change leaves everything as it was, what was left out included");
      totals_.refused += 1;
    } else {
      happened(now, before, struck, outcome);
    }
    compare();
  }
  void tell(change const& now) {
    if (in_.below(16) == 0) {  // begun and abandoned
      begin(commit_kind::refusable);
      for (section const& one : standing_) remove(one);
      add(some_section(0, 2));
    }
    if (in_.below(16) == 0 && listener_.usage().mappings != 0) {
      begin(commit_kind::refusable);
      demand(commit().has_value(), "a change of nothing is followed");
      remove(standing_.front());
      demand(!commit().has_value(), "there is no commit without a begin");
    }
    begin(now.kind);
    const bool additions_first = in_.below(4) == 0;
    if (additions_first)
      for (section const& one : now.additions) add(one);
    for (section const& one : now.removals) remove(one);
    if (!additions_first)
      for (section const& one : now.additions) add(one);
  }
  void arm() {
    const auto cause = error::from_errno("act", EIO);
    switch (in_.below(12)) {
      case 0:
      case 1:
      case 2: book_.fail_at(backend_call::map, 1 + in_.below(4), cause); break;
      case 3: book_.fail_at(backend_call::unmap, 1 + in_.below(2), cause); break;
      case 4: book_.fail_after(backend_call::map, 1 + in_.below(4), cause); break;
      case 5:
        book_.fail_at(backend_call::map, 1 + in_.below(3), cause);
        book_.fail_at(backend_call::unmap, 1 + in_.below(3), cause);
        break;
      case 6:
        book_.fail_at(backend_call::map, 1, cause);
        book_.fail_at(backend_call::map, 2, cause);
        break;
      default: break;
    }
  }

  /// The change was followed, or was compulsory: the list follows it. Checks that what is newly
  /// left out may be.
  template <class Snapshot>
  void happened(change const& now, Snapshot const& before, bool struck,
                tether::result<void> const& outcome) {
    for (section const& one : now.goes) demand(take(standing_, one), "what goes was there");
    standing_.insert(standing_.end(), now.comes.begin(), now.comes.end());
    // What was left out before and not removed is still there; the rest came with this change.
    std::vector<extent_text> expected;
    for (extent_text const& one : before.left_out)
      if (std::none_of(now.goes.begin(), now.goes.end(),
                       [&](section const& gone) { return one.first == gone.where.first.value; }))
        expected.push_back(one);
    const auto left = left_out();
    demand(std::is_sorted(left.begin(), left.end(),
                          [](auto const& a, auto const& b) { return a.first < b.first; }),
           "what is left out is listed by address");
    for (extent_text const& one : expected)
      demand(std::find(left.begin(), left.end(), one) != left.end(), "what was left out stays so");
    bool memory_left_out = false;
    for (std::size_t i = 0; i != left.size(); ++i) {
      if (std::find(expected.begin(), expected.end(), left[i]) != expected.end()) continue;
      const auto came = std::find_if(now.comes.begin(), now.comes.end(), [&](section const& one) {
        return one.where.first.value == left[i].first && one.where.last.value == left[i].last &&
               one.name == left[i].name;
      });
      demand(came != now.comes.end(), "what is newly left out came with the change");
      const bool beyond = came->where.last.value >= usable_pages * page;
      demand(beyond || struck || listener_.left_out()[i].why.is(errc::over_budget),
             "what can be mapped is");
      memory_left_out = memory_left_out || came->kind != region_kind::ram_device;
      totals_.left_out += 1;
    }
    demand(!memory_left_out || (now.kind == commit_kind::compulsory && !outcome),
           "that devices do not see what they must is told");
    demand(outcome.has_value() || !now.wrong.empty() || memory_left_out,
           "a change that could be followed succeeds");
  }
  /// A failed rollback, or a compulsory change that could not unmap.
  void recover(change const& now, bool struck, tether::result<void> const& outcome) {
    demand(struck, "nothing but the backend makes it diverge");
    demand(!outcome.has_value() &&
               (outcome.error().rollback_failed() || now.kind == commit_kind::compulsory),
           "that it diverged is told");
    totals_.diverged += 1;
    for (auto const& one : left_out())
      demand(one.name != scrubbed, "what a diverged listener left out has its name");
    begin(commit_kind::refusable);
    demand(commit().error().is(errc::diverged), "a diverged listener refuses");
    const bool published = now.kind == commit_kind::compulsory;
    if (published) {
      for (section const& one : now.goes) take(standing_, one);
      standing_.insert(standing_.end(), now.comes.begin(), now.comes.end());
    }
    if (in_.flag()) {
      begin(commit_kind::compulsory);
      for (section const& one : standing_) remove(one);
      const auto gone = commit();
      demand(!gone && gone.error().rollback_failed(),
             "what was told can be taken away, and nothing is unmapped");
    }
    device_.reset();
    joined_.reset();
    demand(iommu_.abandon().has_value(), "the backend can be abandoned");
    listener_.reset();
    standing_.clear();
    join();
    compare();
  }

  // What is mapped.

  struct extent_text {
    std::uint64_t first = 0, last = 0;
    std::string name;
    friend bool operator==(extent_text const&, extent_text const&) = default;
  };
  [[nodiscard]] std::vector<extent_text> left_out() const {
    std::vector<extent_text> all;
    for (auto const& one : listener_.left_out())
      all.push_back({one.what.where.first.value, one.what.where.last.value,
                     std::string{text(one.what.name)}});
    return all;
  }
  static std::string_view text(tether::label const& name) { return name.view(); }

  /// The memory that a device reaches at each page, and whether it may write there.
  struct reached {
    std::uint64_t mark = 0;
    bool writable = false;
    friend bool operator==(reached const&, reached const&) = default;
  };
  using reached_pages = std::array<std::optional<reached>, guest_pages>;
  reached_pages reach() {
    reached_pages all;
    for (std::uint64_t i = 0; i != guest_pages; ++i) {
      std::array<std::byte, sizeof(std::uint64_t)> bytes{};
      const tether::io_address at{i * page};
      if (!device_->dma_read(at, bytes)) continue;
      reached seen;
      std::memcpy(&seen.mark, bytes.data(), bytes.size());
      seen.writable = device_->dma_write(at, bytes).has_value();
      all[i] = seen;
    }
    return all;
  }
  struct state {
    reached_pages pages;
    std::vector<extent_text> left_out;
    tether::mapped_usage usage;
    std::uint64_t free = 0;
    friend bool operator==(state const&, state const&) = default;
  };
  state snapshot() { return {reach(), left_out(), listener_.usage(), iommu_.free_mappings()}; }

  /// Compares what a device reaches, and the usage, with the list.
  void compare() {
    reached_pages expected;
    tether::mapped_usage sum;
    const auto left = left_out();
    for (section const& one : standing_) {
      if (one.kind == region_kind::mmio) continue;
      if (std::any_of(left.begin(), left.end(), [&](extent_text const& other) {
            return other.first == one.where.first.value;
          }))
        continue;
      const std::uint64_t bytes = one.where.last.value - one.where.first.value + 1;
      sum.bytes += bytes;
      if constexpr (Block == 0) sum.mappings += 1;
      else sum.mappings += (one.offset.value + bytes - 1) / Block - one.offset.value / Block + 1;
      for (std::uint64_t done = 0; done != bytes; done += page) {
        std::uint64_t mark = 0;
        std::memcpy(&mark, one.memory->data() + one.offset.value + done, sizeof mark);
        expected.at((one.where.first.value + done) / page) =
            reached{mark, !one.read_only && one.kind != region_kind::rom};
      }
    }
    demand(listener_.usage() == sum,
           "usage is the sum of the sections that stand and are not left out");
    demand(iommu_.free_mappings() == budget - sum.mappings, "the backend has as many mappings");
    demand(reach() == expected, "a device reaches what stands, and nothing else");
    demand(listener_.trimmed_bytes() == 0, "whole pages lose nothing");
  }

  void join() {
    joined_.emplace(*iommu_.join(group_));
    device_.emplace(*iommu_.open(*joined_, "device"));
  }
  static tether::guest_address place(std::uint64_t at) { return tether::guest_address{at * page}; }
  static tether::ram_block marked(const char* name, std::uint64_t which, tether::memory_kind kind) {
    alignas(page) static std::array<std::byte, 3 * block_pages * page> memory;
    std::byte* const mine = memory.data() + which * block_pages * page;
    for (std::uint64_t i = 0; i != block_pages; ++i) {
      const std::uint64_t mark = which << 32 | (i + 1);
      std::memcpy(mine + i * page, &mark, sizeof mark);
    }
    return std::move(*tether::ram_block::borrow(
        name, tether::host_address{reinterpret_cast<std::uintptr_t>(mine)}, block_pages * page,
        kind));
  }

  static constexpr std::uint64_t budget = 12;
  static constexpr std::array<std::string_view, 4> names_{"dimm0", "dimm1", "flash", "bar2"};

  tether_fuzz::input& in_;
  complaint complain_;
  tether::ram_block ram_ = marked("ram", 0, tether::memory_kind::private_anonymous);
  tether::ram_block other_ = marked("other", 1, tether::memory_kind::private_anonymous);
  tether::ram_block bar_ = marked("bar", 2, tether::memory_kind::device);
  tether::journal book_;
  tether::recording<tether::software_iommu> iommu_{
      book_, tether::software_iommu{
                 {.usable = {{tether::io_address{0}, tether::io_address{usable_pages * page - 1}}},
                  .budget = budget}}};
  tether::endpoint_group group_{"group", {{"device", tether::pin_class::pins}}};
  std::optional<tether::detail::joined_endpoint_group> joined_{*iommu_.join(group_)};
  std::optional<tether::software_device> device_{*iommu_.open(*joined_, "device")};
  std::mutex mutex_;
  tether::dma_listener<tether::recording<tether::software_iommu>, Granularity, tether::trim_edges,
                       tether::no_observation, std::mutex>
      listener_{iommu_, mutex_};
  std::vector<section> standing_;
  std::vector<section> there_;  // what the VMM takes to be mapped while it makes up a change
  const bool careful_ = in_.flag();
  totals totals_;
};

}  // namespace tether_test
