// SPDX-License-Identifier: BSL-1.0
// The central law of tether, for a backend of your own: whatever a container over it does, and
// whatever fails meanwhile, a device sees what the CPU sees. A balloon strikes before and after
// every call to the backend, on real memory, and takes units of divided memory away and brings them
// back. A model names the backend, and what there is to attach:
//
//     struct my_model {                                          where groups are attached      where single devices are
//       using backend_type = ...;                                  group_type group(n)            endpoint_type device(n, m)
//                                                                  const char* device(n, m)
//       static result<backend_type> make();                      for three groups n, with two devices m each; the names differ
//     };
//     print_figures("my backend", check_hostile_balloon<my_model, my_policy>(20'000));
//
// The backend's devices have names, and are DMA engines (`dma_engine`): they can be told to read
// memory.
#pragma once

#include "support/amount.hpp"
#include "support/hostile_balloon.hpp"
#include "support/must.hpp"
#include "support/skip.hpp"

#include <tether/attach/container.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace tether::laws {

/// The figures of one run.
struct struck {
  std::uint64_t operations = 0;
  std::uint64_t succeeded = 0;
  std::uint64_t faults = 0;
  std::uint64_t diverged = 0;
  /// before and after each call to the backend, and after each operation
  std::uint64_t strikes = 0;
  std::uint64_t let_in = 0;    ///< of them: the gate permitted it
  std::uint64_t compared = 0;  ///< pages, each through a device
  std::uint64_t stale = 0;     ///< of them: the CPU has another one. Must be 0
  /// mapped at rest as far as the container says, and refused to a device. Must be 0
  std::uint64_t blind = 0;
  std::uint64_t units_gone = 0;             ///< units of divided memory that were discarded
  std::uint64_t units_gone_while_open = 0;  ///< of them: while a device was open
  std::uint64_t units_back = 0;
  std::uint64_t units_refused = 0;  ///< busy, inhibited, or the backend failed
  /// pages of discarded units that a device reached at rest, where they should be unmapped. Must be
  /// 0
  std::uint64_t reached = 0;

  void add(struck const& more) {
    operations += more.operations, succeeded += more.succeeded, faults += more.faults,
        diverged += more.diverged;
    strikes += more.strikes, let_in += more.let_in, compared += more.compared, stale += more.stale,
        blind += more.blind;
    units_gone += more.units_gone, units_gone_while_open += more.units_gone_while_open,
        units_back += more.units_back, units_refused += more.units_refused, reached += more.reached;
  }
};

template <class Model, class... Policies>
class hostile_balloon {
  using backend_type = recording<typename Model::backend_type>;
  using container_type = container<backend_type, Policies...>;
  using attached = typename container_type::attached;
  using opened = typename container_type::opened;
  using device_type = typename container_type::device_type;
  static_assert(dma_engine<device_type> && named<device_type>,
                "the devices of this backend cannot be told to read, or have no name");
  static constexpr bool of_groups = backend_type::unit == attach_unit::group;
  static constexpr std::size_t groups = 3;
  static constexpr std::size_t devices = 2;

 public:
  /// Whether the container unmaps what is discarded.
  static constexpr bool follows_units =
      maps_in_blocks<typename container_type::policies::granularity>;

  hostile_balloon(typename Model::backend_type backend, std::uint64_t seed) : random_{seed} {
    static_cast<void>(must(guest_->place(region::ram(*low_), guest_address{0})));
    static_cast<void>(must(guest_->place(region::rom(*rom_), guest_address{256 * KiB})));
    high_region_ = must(guest_->place(region::ram(*high_), guest_address{1 * MiB}));
    divided_region_ = must(guest_->place(region::ram(*divided_), divided_at));
    dma_.emplace(*guest_, gate_, backend_type{book_, std::move(backend)});
    book_.before_each([this](journal_entry const&) { strike(); });
    book_.after_each([this](journal_entry const& entry) {
      if (entry.what == backend_call::close && (entry.ended == call_outcome::done || abandoning_))
        forget(entry.subject);
      strike();
    });
  }
  hostile_balloon(hostile_balloon const&) = delete;
  hostile_balloon& operator=(hostile_balloon const&) = delete;
  ~hostile_balloon() {
    book_.clear_faults();
    book_.before_each({});
    book_.after_each({});
    dma_.reset();
  }

  /// Runs `operations` random operations. Stops at the first after which a device disagrees, unless
  /// `all`.
  struck run(std::uint64_t operations, bool all = false) {
    for (std::uint64_t i = 0; i < operations; ++i) {
      if (below(4) == 0) add_fault();
      const bool done = do_something();
      book_.clear_faults();
      book_.clear();
      total_.operations += 1;
      total_.succeeded += done ? 1U : 0U;
      strike();
      look_at_rest();
      if (dma_->diverged()) {
        total_.diverged += 1;
        if (below(2) == 0) abandon();
      }
      if (!all && (total_.stale != 0 || total_.blind != 0 || total_.reached != 0)) break;
    }
    total_.units_gone = units_.discarded;
    total_.units_back = units_.populated;
    total_.units_refused = units_.refused;
    return total_;
  }
  /// The last operations, latest last.
  [[nodiscard]] std::string description() const {
    std::string text;
    for (auto const& one : told_) text += "\n  " + one;
    return text;
  }

 private:
  struct open_device {
    std::string name;
    device_type* device;
  };

  [[nodiscard]] std::size_t below(std::uint64_t bound) {
    return static_cast<std::size_t>(random_() % bound);
  }
  void tell(std::string what) {
    if (told_.size() == 30) told_.erase(told_.begin());
    told_.push_back(std::move(what));
  }
  static std::unique_ptr<ram_block> block(const char* name, std::uint64_t size, memory_kind kind) {
    return std::make_unique<ram_block>(tether_test::must(ram_block::allocate(name, size, kind)));
  }
  /// Four units of two pages.
  static std::unique_ptr<ram_block> divided_block() {
    auto made = block("divided", 8 * page, memory_kind::private_anonymous);
    must_be(divide(*made, 2 * page));
    return made;
  }
  template <class T>
  static T must(result<T> outcome) {
    return tether_test::must(std::move(outcome));
  }

  // Operations on the container.

  void add_fault() {
    total_.faults += 1;
    const std::uint64_t at = 1 + below(6);
    const error why{"injected", errc::memory_gone};
    switch (below(4)) {
      case 0: return book_.fail_at(at, why.with_failed_rollback());
      case 1: return book_.fail_after(static_cast<backend_call>(below(10)), 1 + below(2), why);
      case 2: book_.fail_at(at + 1 + below(2), why); [[fallthrough]];
      default: return book_.fail_at(at, why);
    }
  }
  [[nodiscard]] bool do_something() {
    const std::size_t group = below(groups);
    const std::size_t device = below(devices);
    const consent agrees = below(2) == 0 ? agrees_to_discards : consent::none;
    const std::size_t choice = below(20);
    if (choice < 2) return commit();
    if (choice >= 16) return change_unit();
    if constexpr (of_groups) {
      if (choice < 4) return detach_group(group);
      if (choice < 6) return close(group, device);
      return choice < 10 ? attach_group(group) : open(group, device, agrees);
    } else {
      return choice < 8 ? detach_device(group, device) : attach_device(group, device, agrees);
    }
  }
  [[nodiscard]] bool attach_group(std::size_t group)
    requires of_groups
  {
    auto outcome = dma_->attach(Model::group(group));
    tell("attach group " + std::to_string(group) + said(outcome));
    if (outcome) attached_[group].emplace(*outcome);
    return outcome.has_value();
  }
  [[nodiscard]] bool attach_device(std::size_t group, std::size_t device, consent agrees)
    requires(!of_groups)
  {
    auto outcome = dma_->attach(Model::device(group, device), agrees);
    tell("attach " + std::string{Model::device(group, device).name()} +
         (agrees == consent::given ? ", agreeing" : "") + said(outcome));
    return keep(outcome, group, device);
  }
  [[nodiscard]] bool open(std::size_t group, std::size_t device, consent agrees)
    requires of_groups
  {
    if (!attached_[group]) return false;
    auto outcome = attached_[group]->open(Model::device(group, device), agrees);
    tell("open " + std::string{Model::device(group, device)} +
         (agrees == consent::given ? ", agreeing" : "") + said(outcome));
    return keep(outcome, group, device);
  }
  [[nodiscard]] bool keep(result<opened> const& outcome, std::size_t group, std::size_t device) {
    if (!outcome) return false;
    opened_[group][device].emplace(*outcome);
    open_.push_back({name_of(group, device), &**opened_[group][device]});
    return true;
  }
  [[nodiscard]] bool close(std::size_t group, std::size_t device)
    requires of_groups
  {
    if (!opened_[group][device]) return false;
    const auto outcome = opened_[group][device]->close();
    tell("close " + name_of(group, device) + said(outcome));
    return outcome.has_value();
  }
  [[nodiscard]] bool detach_group(std::size_t group)
    requires of_groups
  {
    if (!attached_[group]) return false;
    const auto outcome = attached_[group]->detach();
    tell("detach group " + std::to_string(group) + said(outcome));
    return outcome.has_value();
  }
  [[nodiscard]] bool detach_device(std::size_t group, std::size_t device)
    requires(!of_groups)
  {
    if (!opened_[group][device]) return false;
    const auto outcome = opened_[group][device]->detach();
    tell("detach " + name_of(group, device) + said(outcome));
    return outcome.has_value();
  }
  /// Memory is added and removed, and changes its rights. No address changes its block in one
  /// commit: meanwhile neither block would be the right one.
  [[nodiscard]] bool commit() {
    auto change = guest_->begin(below(4) == 0 ? commit_kind::compulsory : commit_kind::refusable);
    auto spare_region = spare_region_;
    auto high_region = high_region_;
    auto divided_region = divided_region_;
    bool read_only = read_only_;
    const auto toggle = [&](std::optional<region_id>& which, ram_block& memory, std::uint64_t at) {
      if (which) {
        must_be(change.remove(*which));
        which.reset();
      } else {
        which = must(change.place(region::ram(memory), guest_address{at}));
      }
    };
    if (below(2) == 0) toggle(spare_region, *spare_, 2 * MiB);
    if (below(2) == 0) toggle(divided_region, *divided_, divided_at.value);
    if (below(2) == 0) toggle(high_region, *high_, 1 * MiB);
    else if (high_region && below(2) == 0)
      must_be(change.set_read_only(*high_region, read_only = !read_only));
    const auto outcome = change.commit();
    const auto place_of = [](auto const& region) { return region ? "there" : "gone"; };
    tell(std::string{"commit: spare RAM "} + place_of(spare_region) + ", high RAM " +
         place_of(high_region) + ", divided RAM " + place_of(divided_region) + said(outcome));
    if (!outcome) return false;
    spare_region_ = spare_region, high_region_ = high_region, read_only_ = read_only;
    divided_region_ = divided_region;
    return true;
  }
  static void must_be(result<void> const& done) { tether_test::must(done); }
  void abandon() {
    book_.clear_faults();
    abandoning_ = true;
    const auto gone = dma_->abandon();
    abandoning_ = false;
    tell("abandon" + said(gone));
    must_be(gone);
    open_.clear();
    attached_ = {};
    opened_ = {};
  }
  template <class T>
  [[nodiscard]] static std::string said(result<T> const& outcome) {
    return outcome ? std::string{} : ": " + outcome.error().sentence();
  }
  [[nodiscard]] static std::string name_of(std::size_t group, std::size_t device) {
    if constexpr (of_groups) return Model::device(group, device);
    else return std::string{Model::device(group, device).name()};
  }
  /// Forgets the device that has been closed. One that was closed before, whatever was answered
  /// then, has no name any more.
  void forget(std::string const& name) {
    std::erase_if(open_, [&](open_device const& one) {
      return one.name == name || one.device->name().empty();
    });
  }

  // The balloon, the guest, and the comparison.

  /// As an operation of its own: its calls to the backend may fail.
  [[nodiscard]] bool change_unit() {
    const std::uint64_t refused = units_.refused;
    strike_units();
    tell(units_.refused == refused ? "a unit went or came" : "a unit stays as it is");
    return units_.refused == refused;
  }
  void strike_units() {
    const std::uint64_t gone = units_.discarded;
    changing_unit_ = true;
    units_.strike(random_());
    changing_unit_ = false;
    if (!open_.empty()) total_.units_gone_while_open += units_.discarded - gone;
  }
  /// Permitted or not, the guest then writes something new to every page: to other frames or to the
  /// same ones. What is in the midst of a unit's change changes no other unit.
  void strike() {
    total_.strikes += 1;
    const auto guest_writes = [this] {
      stamp_ += 1;
      for (ram_block* const one : blocks()) {
        for (std::uint64_t at = 0; at < one->size(); at += page)
          std::memcpy(one->data() + at + stamp_ % 500 * 8, &stamp_, sizeof stamp_);
      }
    };
    if (!tether_test::strike(gate_, blocks(), [this] { total_.let_in += 1; }, guest_writes))
      guest_writes();
    compare();
    if (changing_unit_ || below(3) != 0) return;
    strike_units();
    compare();
  }
  void compare() {
    const auto view = guest_->view();
    for (open_device const& one : open_) {
      for (auto const& part : *view) {
        for (std::uint64_t at = 0; at < part.where.size(); at += page) {
          // not reached by the device, rightly or not
          if (!one.device->dma_read(io_address{part.where.first.value + at}, seen_)) continue;
          total_.compared += 1;
          if (std::memcmp(seen_.data(), part.memory->data() + part.offset.value + at, page) != 0)
            total_.stale += 1;
        }
      }
    }
  }
  /// Pages that an open device should reach and does not, or reaches and should not. Where
  /// something was left out, or is not known any more, nothing is expected.
  void look_at_rest() {
    if (dma_->diverged() || !dma_->left_out().empty()) return;
    const auto view = guest_->view();
    for (open_device const& one : open_) {
      for (auto const& part : *view) {
        for (std::uint64_t at = 0; at < part.where.size(); at += page) {
          const bool reached =
              one.device->dma_read(io_address{part.where.first.value + at}, seen_).has_value();
          population const& units = units_.all();
          const std::uint64_t unit = units.unit_at(part.offset + at);
          if (part.memory != &units.memory() || !follows_units || units.is_populated(unit)) {
            if (part.memory == &units.memory() && units_.may_be_fenced(unit)) continue;
            total_.blind += reached ? 0U : 1U;
          } else {
            total_.reached += reached ? 1U : 0U;
          }
        }
      }
    }
  }
  [[nodiscard]] std::array<ram_block*, 5> blocks() const {
    return {low_.get(), rom_.get(), high_.get(), spare_.get(), divided_.get()};
  }

  static constexpr std::uint64_t page = 4 * KiB;
  static constexpr guest_address divided_at{4 * MiB};

  std::mt19937_64 random_;
  struck total_;
  std::vector<std::string> told_;
  std::array<std::byte, page> seen_{};
  std::uint64_t stamp_ = 0;
  bool abandoning_ = false;
  std::unique_ptr<ram_block> low_ = block("low", 4 * page, memory_kind::private_anonymous);
  std::unique_ptr<ram_block> rom_ = block("rom", 2 * page, memory_kind::private_anonymous);
  std::unique_ptr<ram_block> high_ = block("high", 2 * page, memory_kind::shared);
  std::unique_ptr<ram_block> spare_ = block("spare", 2 * page, memory_kind::private_anonymous);
  std::unique_ptr<ram_block> divided_ = divided_block();
  std::unique_ptr<address_space> guest_ = std::make_unique<address_space>();
  discard_gate<> gate_;
  journal book_;
  std::optional<container_type> dma_;
  std::optional<region_id> high_region_;
  std::optional<region_id> spare_region_;
  std::optional<region_id> divided_region_;
  tether_test::hostile_units units_{*divided_, *guest_, divided_at, gate_};
  bool changing_unit_ = false;
  bool read_only_ = false;
  std::array<std::optional<attached>, groups> attached_;
  std::array<std::array<std::optional<opened>, devices>, groups> opened_;
  std::vector<open_device> open_;
};

inline void print_figures(std::string const& of, struck const& all) {
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  const std::string text = number(all.operations) + " operations, " + number(all.faults) +
                           " faults, " + number(all.diverged) + " diverged, " +
                           number(all.strikes) + " strikes (" + number(all.let_in) + " let in), " +
                           number(all.compared) + " pages compared, " + number(all.stale) +
                           " stale; units discarded " + number(all.units_gone) + " times (" +
                           number(all.units_gone_while_open) + " under an open device), back " +
                           number(all.units_back) + ", refused " + number(all.units_refused);
  std::printf("figures: hostile balloon, %s: %s\n", of.c_str(), text.c_str());
}

/// Runs `operations` random operations on a model's backend under `Policies`. Fails the test where
/// a device ever sees another page than the CPU, none where it should see one, or one of a unit
/// that is gone; and where nothing was discarded, or nothing compared in a hundred operations or
/// more: that would show nothing.
/// Where the model cannot be made here, the test is skipped.
template <class Model, class... Policies>
struck check_hostile_balloon(std::uint64_t operations) {
  auto backend = Model::make();
  if (!backend) {
    tether_test::skip_because(backend.error().sentence());
    return {};
  }
  const std::uint64_t seed = tether_test::seed();
  hostile_balloon<Model, Policies...> subject{std::move(*backend), seed};
  const struck all = subject.run(operations);
  const bool well = all.stale == 0 && all.blind == 0 && all.reached == 0;
  const std::string why = well ? std::string{} : subject.description();
  CAPTURE(seed);
  CHECK(all.stale == 0);
  CHECK(all.blind == 0);
  CHECK(all.reached == 0);
  CHECK(why == "");
  if (operations >= 100) {
    CHECK(all.compared != 0);
    CHECK(all.units_gone != 0);
    CHECK(all.units_back != 0);
    if (subject.follows_units) CHECK(all.units_gone_while_open != 0);
  }
  CHECK(all.let_in != 0);
  return all;
}

/// The same for a wrong policy, run to its end: the test fails if no stale page was found.
template <class Model, class... Policies>
struck must_find_stale_pages(std::uint64_t operations) {
  auto backend = Model::make();
  if (!backend) {
    tether_test::skip_because(backend.error().sentence());
    return {};
  }
  hostile_balloon<Model, Policies...> subject{std::move(*backend), tether_test::seed()};
  const struck all = subject.run(operations, true);
  CHECK(all.stale != 0);
  return all;
}

}  // namespace tether::laws
