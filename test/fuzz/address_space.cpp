// SPDX-License-Identifier: BSL-1.0
// Programs of edits, nested transactions, refusals and registrations against a map that asks every
// region about every page. After each commit, what each listener has been told adds up to that map,
// page by page; removals come first; what changes nothing is silent.
#include "input.hpp"

#include <tether/topology/address_space.hpp>

#include <support/reference_map.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace tether;
using tether_fuzz::demand;
using tether_fuzz::input;
using tether_test::reference_map;

namespace {

constexpr std::uint64_t page = reference_map::page;
constexpr std::uint64_t guest_pages = 24;
constexpr std::uint64_t block_pages = 16;
// pages of the file in front of the first block, which is a window of it
constexpr std::uint64_t before_the_window = 4;
constexpr std::size_t most_regions = 10;

/// Memory that lives as long as the program: only its addresses matter here.
alignas(page) std::array<std::byte, 2 * block_pages * page> memory;

/// A part of the one file that there is, from page `first` on.
ram_block received(const char* name, std::uint64_t first, std::uint64_t pages) {
  static const auto file = static_cast<int>(linux_kernel::memfd_create("guest", MFD_CLOEXEC));
  static const auto sized = linux_kernel::ftruncate(file, 32 * page);
  demand(sized == 0, "a file can be made");
  return std::move(*ram_block::from_descriptor(name, file, first * page, pages * page));
}

std::array<ram_block, 3>& blocks() {
  const auto borrow = [](const char* name, std::size_t which, memory_kind kind) {
    return std::move(*ram_block::borrow(
        name,
        host_address{reinterpret_cast<std::uintptr_t>(memory.data()) + which * block_pages * page},
        block_pages * page, kind));
  };
  static auto& all = *new std::array<ram_block, 3>{
      received("ram", before_the_window, block_pages),
      borrow("other", 0, memory_kind::private_anonymous), borrow("bar", 1, memory_kind::device)};
  return all;
}

/// The file of the first block again, as if received a second time and cut otherwise.
ram_block& received_again() {
  static auto& again = *new ram_block{received("again", 0, before_the_window + block_pages)};
  return again;
}

/// What lies at one page, for whoever was told of it.
struct seen_page {
  memory_backing* memory = nullptr;
  std::uint64_t offset = 0;
  region_kind kind = region_kind::ram;
  bool read_only = false;
  bool unmergeable = false;
  friend bool operator==(seen_page const&, seen_page const&) = default;
};
using seen_pages = std::array<std::optional<seen_page>, guest_pages>;

std::uint64_t origin = 0;  // of the guest's pages

template <class Sections>
seen_pages pages_of(Sections const& sections) {
  seen_pages all;
  for (section const& one : sections)
    for (std::uint64_t i = 0; i * page < one.where.size(); ++i)
      all.at((one.where.first.value - origin) / page + i) =
          seen_page{one.memory, one.memory == nullptr ? 0 : one.offset.value + i * page, one.kind,
                    one.read_only, one.unmergeable};
  return all;
}

/// Which listeners are told what, over all of them: within one change each removal comes before
/// each addition.
bool adding = false;

/// Adds up what it is told, byte by byte of a guest whose bytes are pages.
class watcher {
 public:
  void begin(commit_kind kind) noexcept {
    demand(!open_, "a change begins after the one before has ended");
    open_ = true;
    adding = false;
    kind_ = kind;
    before_ = told;
    begins += 1;
  }
  void remove(section const& one) noexcept {
    demand(open_, "a removal is part of a change");
    demand(!adding, "all removals come before all additions");
    removals += 1;
    for_each_page(one, [&](std::optional<seen_page>& at, seen_page const& what) {
      demand(at == what, "what is removed was there");
      at.reset();
    });
  }
  void add(section const& one) noexcept {
    demand(open_, "an addition is part of a change");
    adding = true;
    additions += 1;
    for_each_page(one, [&](std::optional<seen_page>& at, seen_page const& what) {
      demand(!at, "what is added is added where nothing is");
      at = what;
    });
  }
  [[nodiscard]] result<void> commit() noexcept {
    demand(open_, "a commit ends a change");
    open_ = false;
    adding = false;
    if (refuse_at == 0 || --refuse_at != 0) return {};
    refusals += 1;
    if (kind_ == commit_kind::refusable) told = before_;
    else refused_compulsory += 1;
    return failure(error{"follow", errc::over_budget});
  }

  seen_pages told;
  std::uint64_t refuse_at = 0;  ///< the n-th commit from now is refused, 0: none
  std::uint64_t begins = 0;
  std::uint64_t removals = 0;
  std::uint64_t additions = 0;
  std::uint64_t refusals = 0;
  std::uint64_t refused_compulsory = 0;
  bool registered = false;

 private:
  template <class Visit>
  static void visit_pages(section const& one, watcher& who, Visit visit) {
    const seen_pages pages = pages_of(std::array{one});
    for (std::size_t i = 0; i < pages.size(); ++i)
      if (pages[i]) visit(who.told[i], *pages[i]);
  }
  template <class Visit>
  void for_each_page(section const& one, Visit visit) {
    visit_pages(one, *this, visit);
  }

  seen_pages before_;
  commit_kind kind_ = commit_kind::refusable;
  bool open_ = false;
};

/// The regions, and what a transaction would make of them.
struct model {
  reference_map map{guest_pages, origin};
  std::vector<region_id> ids;
};

class program {
 public:
  explicit program(input& in) : in_{in} {}
  program(program const&) = delete;
  program& operator=(program const&) = delete;

  void run() {
    while (!in_.empty()) {
      switch (in_.below(8)) {
        case 0: register_one(); break;
        case 1: unregister_one(watchers_[in_.below(watchers_.size())]); break;
        case 2: keep_a_view(); break;
        case 3: single_edit(); break;
        default: static_cast<void>(transact(0, committed_)); break;
      }
      compare();
    }
    for (watcher& one : watchers_) {
      one.refuse_at = 0;
      unregister_one(one);
    }
    check_kept();
  }

 private:
  void compare() {
    const auto expected = committed_.map.sections();
    const auto view = guest_.view();
    demand(std::equal(view->begin(), view->end(), expected.begin(), expected.end()),
           "the view is what asking every page gives");
    const seen_pages pages = pages_of(expected);
    for (watcher const& one : watchers_)
      demand(one.told == (one.registered ? pages : seen_pages{}),
             "what a listener was told adds up to the guest's memory");
    for (std::uint64_t i = 0; i < guest_pages; ++i) {
      section const* const found = view.find(guest_address{origin + i * page + in_page_});
      demand((found != nullptr) == pages[i].has_value(),
             "a page is found exactly if something is there");
      if (found != nullptr)
        demand(pages_of(std::array{*found})[i] == pages[i],
               "what is found at a page is what is there");
    }
  }

  /// An edit of a region, told to the reference as well. Requires: `change` is a transaction, or
  /// the guest itself.
  template <class Change>
  void edit(Change& change, model& now) {
    const auto choice = in_.below(10);
    if (choice < 4 && now.ids.size() < most_regions) return place(change, now);
    if (now.ids.empty()) return;
    const auto which = in_.below(now.ids.size());
    const region_id id = now.ids[which];
    auto& known = now.map.regions.at(id.value);
    const bool on = in_.flag();
    switch (choice) {
      case 4:
      case 5:
        demand(change.remove(id).has_value(), "a region that is there can be removed");
        now.map.regions.erase(id.value);
        now.ids.erase(now.ids.begin() + static_cast<std::ptrdiff_t>(which));
        demand(!change.remove(id).has_value(), "a region that is gone cannot be removed");
        break;
      case 6: {
        const std::uint64_t size = known.what.size() / page;
        const std::uint64_t to = in_.below(guest_pages - size + 1);
        demand(change.move(id, guest_address{origin + to * page}).has_value(),
               "a region can be moved wherever it fits");
        known.first_page = to;
        break;
      }
      case 7:
        demand(change.set_enabled(id, on).has_value(), "a region can be enabled and disabled");
        known.enabled = on;
        break;
      case 8:
        demand(change.set_read_only(id, on).has_value(),
               "a region can be made read-only and writable");
        known.read_only = on;
        break;
      default:
        demand(change.set_dirty_log(id, on).has_value(), "the writes to a region can be logged");
        break;
    }
  }

  template <class Change>
  void place(Change& change, model& now) {
    const std::uint64_t size = 1 + in_.below(8);
    const std::uint64_t first = in_.below(guest_pages - size + 1);
    const std::uint64_t offset =
        in_.flag() && first + size <= block_pages ? first : in_.below(block_pages - size + 1);
    const region what = some_region(offset, size)
                            .read_only(in_.below(4) == 0)
                            .unmergeable(in_.below(4) == 0)
                            .dirty_log(in_.flag());
    // The reference knows one block of the file; the guest is given either, and nobody may see a
    // difference.
    const bool again = what.kind() == region_kind::ram && what.memory() == &blocks()[0].backing() &&
                       (offset + size + first) % 2 == 0;
    const auto of_the_other = [&] {
      return region::ram(received_again(), block_offset{(before_the_window + offset) * page},
                         size * page)
          .named(what.name().view())
          .read_only(what.is_read_only())
          .unmergeable(what.is_unmergeable())
          .dirty_log(what.has_dirty_log());
    };
    const int priority = static_cast<int>(in_.below(3)) - 1;
    if (in_.below(16) == 0) {
      demand(!change
                  .place(region::ram(blocks()[0], block_offset{page}, block_pages * page),
                         guest_address{origin})
                  .has_value(),
             "a region ends where its memory does");
      demand(!change.place(region::mmio("nothing", 0), guest_address{origin}).has_value(),
             "a region of no bytes is refused");
      demand(!change.place(region::mmio("wraps", 2 * page), guest_address{0 - page}).has_value(),
             "a region does not wrap");
    }
    const auto id =
        change.place(again ? of_the_other() : what, guest_address{origin + first * page}, priority);
    demand(id.has_value(), "a region that fits is placed");
    now.map.place(*id, what, first, priority);
    now.ids.push_back(*id);
  }
  region some_region(std::uint64_t offset, std::uint64_t size) {
    const block_offset at{offset * page};
    switch (in_.below(8)) {
      case 0: return region::mmio("registers", size * page);
      case 1: return region::iommu_window("window", size * page);
      case 2: return region::rom(blocks()[1], at, size * page);
      case 3: return region::ram_device(blocks()[2], at, size * page);
      case 4: return region::ram(blocks()[1], at, size * page);
      default: return region::ram(blocks()[0], at, size * page);
    }
  }

  /// One transaction with some edits and perhaps others inside: what it made of `now`, if it was
  /// committed. Answers whether a compulsory one was, here or inside.
  bool transact(unsigned depth, model& now) {
    model mine = now;
    bool compulsory = in_.below(4) == 0;
    auto change = guest_.begin(compulsory ? commit_kind::compulsory : commit_kind::refusable);
    for (auto edits = 1 + in_.below(4); edits-- > 0;) {
      if (depth < 3 && in_.below(4) == 0) {
        compulsory = transact(depth + 1, mine) || compulsory;
      } else {
        edit(change, mine);
      }
    }
    if (in_.below(5) == 0) return false;  // dropped
    if (depth != 0) {
      demand(change.commit().has_value(), "inside another, a commit only hands over");
      now = std::move(mine);
      return compulsory;
    }
    finish(change, compulsory, now, mine);
    return compulsory;
  }

  /// The outermost commit: who refuses, and what must come of it.
  void finish(transaction& change, bool compulsory, model& now, model& mine) {
    const auto before = now.map.sections();
    const auto after = mine.map.sections();
    const auto gone = tether_test::missing(before, after).size();
    const auto fresh = tether_test::missing(after, before).size();
    arm();
    auto const was = watchers_totals();
    const auto done = change.commit();
    auto const is = watchers_totals();
    disarm();
    if (gone + fresh == 0) {
      demand(is.begins == was.begins, "a commit that changes nothing is silent");
      demand(done.has_value() && done->removed == 0 && done->added == 0,
             "a commit that changes nothing succeeds");
    }
    if (!done) {
      demand(!compulsory, "a compulsory commit always happens");
      demand(is.refusals != was.refusals, "a commit fails only if a listener refuses it");
      demand(done.error().is(errc::over_budget), "it is the listener's error");
      demand(done.error().rollback_failed() == (is.refused_compulsory != was.refused_compulsory),
             "it says so if a listener could not go back");
      return;
    }
    demand(done->removed == gone && done->added == fresh, "it reports what changed");
    demand(is.removals - was.removals == gone * is.registered &&
               is.additions - was.additions == fresh * is.registered,
           "each listener is told exactly what changed");
    demand(done->fenced.size() == is.refused_compulsory - was.refused_compulsory,
           "it names each listener that could not follow");
    demand(is.refusals - was.refusals == done->fenced.size(), "it names no other");
    demand(compulsory || done->fenced.empty(),
           "a refusable commit that is refused does not happen");
    now = std::move(mine);
  }

  void single_edit() {
    model mine = committed_;
    arm();
    const bool refused = edit_alone(mine);
    disarm();
    if (!refused) committed_ = std::move(mine);
  }
  /// As `edit`, but each edit is a transaction of its own, which listeners may refuse.
  bool edit_alone(model& mine) {
    if (mine.ids.empty()) return true;
    const region_id id = mine.ids[in_.below(mine.ids.size())];
    auto& known = mine.map.regions.at(id.value);
    if (in_.flag()) {
      known.enabled = !known.enabled;
      return !guest_.set_enabled(id, known.enabled).has_value();
    }
    mine.map.regions.erase(id.value);
    std::erase_if(mine.ids, [&](region_id one) { return one.value == id.value; });
    return !guest_.remove(id).has_value();
  }

  void register_one() {
    watcher& one = watchers_[in_.below(watchers_.size())];
    const int priority = static_cast<int>(in_.below(3));
    one.refuse_at = in_.below(8) == 0 ? 1 : 0;
    const auto refusals = one.refusals;
    const auto done = guest_.add_listener(one, priority);
    one.refuse_at = 0;
    if (one.registered) {
      demand(!done && done.error().is(errc::already_there), "a listener registers once");
    } else {
      demand(done.has_value() == (one.refusals == refusals),
             "a listener that follows is registered");
      one.registered = done.has_value();
    }
  }
  void unregister_one(watcher& one) {
    const auto refusals = one.refusals;
    one.refuse_at = in_.below(8) == 0 ? 1 : 0;
    const auto done = guest_.remove_listener(one);
    one.refuse_at = 0;
    demand(done.has_value() == (one.refusals == refusals),
           "a listener that could not follow its removal says so");
    one.registered = false;
  }

  /// A reader that stays: its view never changes, whatever is committed meanwhile.
  void keep_a_view() {
    check_kept();
    kept_.emplace(guest_.view());
    kept_pages_ = pages_of(kept_->sections());
  }
  void check_kept() {
    if (kept_)
      demand(pages_of(kept_->sections()) == kept_pages_,
             "a view that a reader keeps never changes");
  }

  /// Some listeners refuse one of the next commits. The second is what takes a refused change back.
  void arm() {
    for (watcher& one : watchers_) one.refuse_at = in_.below(8) == 0 ? 1 + in_.below(2) : 0;
  }
  void disarm() {
    for (watcher& one : watchers_) one.refuse_at = 0;
  }
  struct totals {
    std::uint64_t begins = 0, removals = 0, additions = 0, refusals = 0, refused_compulsory = 0,
                  registered = 0;
  };
  [[nodiscard]] totals watchers_totals() const {
    totals all;
    for (watcher const& one : watchers_) {
      all.begins += one.begins;
      all.removals += one.removals;
      all.additions += one.additions;
      all.refusals += one.refusals;
      all.refused_compulsory += one.refused_compulsory;
      all.registered += one.registered ? 1U : 0U;
    }
    return all;
  }

  input& in_;
  address_space guest_;
  model committed_;
  std::array<watcher, 3> watchers_;
  std::optional<view_guard> kept_;
  seen_pages kept_pages_;
  std::uint64_t in_page_ = in_.byte() * 16;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  input in{data, size};
  // the last ends with 2^64
  const std::array<std::uint64_t, 3> origins{0, 4 * GiB, 0 - guest_pages * page};
  origin = origins[in.below(3)];
  program{in}.run();
  for (ram_block const& one : blocks())
    demand(one.backing().references() == 0, "nothing refers to memory that is placed nowhere");
  return 0;
}
