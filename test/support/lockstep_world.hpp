// SPDX-License-Identifier: BSL-1.0
// The model's side of the lockstep test: the proof's world performs the operation that a real
// container has just performed, with the outcomes that its calls show. The transitions are the
// proof's own code (`proof/model/transition.hpp`); this file only selects which successor state
// came true.
#pragma once

#include <support/lockstep_calls.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/attachment.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/acts.hpp>
#include <tether/proof/model/event.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/model/state.hpp>
#include <tether/proof/model/transition.hpp>
#include <tether/proof/search/coverage.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tether_test::lockstep {

/// What is mapped: sections, each cut into pieces, in the order of their addresses. The world has
/// one page for all of it.
using layout = std::vector<std::vector<tether::extent<tether::io_address>>>;

/// Reads the calls of one operation, act by act, and objects to any that the current act does not
/// make.
class call_reader {
 public:
  /// `pins`: what is read-only is populated when it is mapped. In `memory` that is the first
  /// section.
  call_reader(std::span<call const> calls, layout const& memory, bool pins)
      : calls_{calls}, memory_{memory}, populates_{pins} {}
  /// The group and the device that the calls name from now on.
  void about(std::string_view group, std::string_view device) noexcept {
    group_ = group;
    device_ = device;
  }

  struct ending {
    tether::outcome how = tether::outcome::done;
    bool half_way = false;  ///< a failed replay had mapped something
  };

  [[nodiscard]] bool at_end() const noexcept { return at_ == calls_.size(); }
  [[nodiscard]] std::string const& objection() const noexcept { return objection_; }

  /// How an act ended.
  template <tether::attach_unit Unit>
  [[nodiscard]] ending read(tether::act what) {
    using tether::act;
    const std::string_view member = Unit == tether::attach_unit::group ? group_ : device_;
    switch (what) {
      case act::acquire: return {expect(asked::acquire, group_)};
      case act::add_to_kvm: return {expect(asked::tell, member)};
      case act::remove_from_kvm: return {expect(asked::forget, member)};
      case act::join: return {expect(asked::join, member)};
      case act::leave: return {expect(asked::leave, member)};
      case act::open: return {expect(asked::open, device_)};
      case act::bind: return {expect(asked::bind, device_)};
      case act::close: return {expect(asked::close, device_)};
      case act::populate: return {populate()};
      case act::replay: return replay();
      case act::withdraw: return withdraw();
      default: return {};
    }
  }
  /// Objects if a call is left.
  void expect_end() {
    if (!at_end() && objection_.empty())
      objection_ = "the world makes no more calls, the container made: " + sentence(calls_[at_]);
  }

 private:
  using extent = tether::extent<tether::io_address>;

  tether::outcome expect(asked what, std::string_view subject, extent where = {}) {
    const bool is_map = what <= asked::unmap;
    if (at_ < calls_.size()) {
      call const& one = calls_[at_];
      const bool same_place =
          !is_map || (one.first == where.first.value && one.last == where.last.value);
      if (one.what == what && one.subject == subject && same_place) {
        ++at_;
        return one.ended == tether::call_outcome::done     ? tether::outcome::done
               : one.ended == tether::call_outcome::failed ? tether::outcome::failed
                                                           : tether::outcome::stuck;
      }
    }
    if (objection_.empty()) {
      call wanted{.what = what, .subject = std::string{subject}};
      if (is_map) wanted.first = where.first.value, wanted.last = where.last.value;
      objection_ = "the world's next call is: " + sentence(wanted) +
                   "; the container's: " + (at_end() ? "none" : sentence(calls_[at_]));
    }
    return tether::outcome::done;
  }
  tether::outcome unmap(extent where) { return expect(asked::unmap, {}, where); }

  tether::outcome populate() {
    return populates_ ? expect(asked::populate, listening_memory::name) : tether::outcome::done;
  }

  /// Every piece is mapped; if one fails, those mapped before it are unmapped, latest first.
  ending replay() {
    std::size_t mapped = 0;
    for (std::size_t section = 0; section < memory_.size(); ++section) {
      if (section == 0) {
        // nothing was mapped yet
        if (const auto how = populate(); how != tether::outcome::done) return {how};
      }
      for (std::size_t piece = 0; piece < memory_[section].size(); ++piece, ++mapped) {
        const tether::outcome how = expect(asked::map, {}, memory_[section][piece]);
        if (how == tether::outcome::done) continue;
        bool stuck = how == tether::outcome::stuck;
        const auto take_back = [&](std::size_t of, std::size_t last) {
          stuck =
              unmap({memory_[of].front().first, memory_[of][last].last}) != tether::outcome::done ||
              stuck;
        };
        if (piece != 0) take_back(section, piece - 1);
        for (std::size_t before = section; before-- > 0;)
          take_back(before, memory_[before].size() - 1);
        return {stuck ? tether::outcome::stuck : tether::outcome::failed, mapped != 0};
      }
    }
    return {};
  }
  /// If quiescing fails nothing is unmapped. After it there is no rollback, and every section is
  /// tried.
  ending withdraw() {
    if (const auto quiet = expect(asked::quiesce, {}); quiet != tether::outcome::done)
      return {quiet};
    bool all = true;
    for (auto const& section : memory_)
      all = unmap({section.front().first, section.back().last}) == tether::outcome::done && all;
    return {all ? tether::outcome::done : tether::outcome::stuck};
  }

  std::span<call const> calls_;
  layout const& memory_;
  bool populates_;
  std::string_view group_{};
  std::string_view device_{};
  std::size_t at_ = 0;
  std::string objection_;
};

/// A caller's request, in the world's terms.
struct request {
  std::size_t container = 0;
  std::size_t group = 0;
  tether::change begins = tether::change::none;
  tether::consent agrees = tether::consent::none;
  bool mediated = false;
};
/// How the operation ended in the world.
struct answer {
  tether::ending ended = tether::ending::none;
  tether::act first_failed = tether::act::nothing;
};

/// A world that follows. Real containers and groups are assigned places in it; identical ones may
/// swap places, because the proof tries only the first of several identical ones (symmetry
/// reduction).
template <class Abstraction, class Scope>
class world_follower {
  using transition = tether::proof::transition<Abstraction, Scope>;
  using acts = tether::proof::acts<Abstraction, Scope>;
  using successor = tether::proof::successor<Scope>;
  using container_state = tether::proof::container_state<Scope>;

 public:
  world_follower() {
    for (std::size_t i = 0; i < Scope::containers; ++i) {
      places_[i].container = i;
      for (std::size_t j = 0; j < Scope::groups; ++j) places_[i].group[j] = j;
    }
  }

  [[nodiscard]] tether::proof::world<Scope> const& all() const noexcept { return here_; }
  [[nodiscard]] container_state const& container(std::size_t real) const noexcept {
    return here_.containers[places_[real].container];
  }
  [[nodiscard]] tether::proof::group_state const& group(std::size_t real,
                                                        std::size_t which) const noexcept {
    return container(real).groups[places_[real].group[which]];
  }
  /// Whether a diverged container was at work on this group: then its record is kept.
  [[nodiscard]] bool diverged_at(std::size_t real, std::size_t which) const noexcept {
    return container(real).diverged && container(real).active == places_[real].group[which];
  }
  /// Whether a container has a record of the group.
  [[nodiscard]] bool listed(std::size_t real, std::size_t which) const noexcept {
    return group(real, which).counts.attached || diverged_at(real, which);
  }
  /// As the world's own event does: an abandoned container starts afresh.
  void abandoned(std::size_t real) noexcept { here_.containers[places_[real].container] = {}; }
  void has_diverged(std::size_t real) noexcept {
    here_.containers[places_[real].container].diverged = true;
  }

  /// Performs an operation from its beginning to its end. Empty where the world cannot do that;
  /// `objection` says why.
  [[nodiscard]] std::optional<answer> take(request const& wanted, call_reader& calls,
                                           bool holds_are_refused) {
    stand_in_front(wanted.container, wanted.group);
    place const& at = places_[wanted.container];
    answer told{};
    // of a replay that is under way, which is read as a whole
    std::optional<call_reader::ending> decided;
    bool begun = false;
    for (;;) {
      std::optional<successor> taken;
      transition::for_each(here_, [&](successor const& next) {
        if (next.by.container != at.container) return true;
        if (begun ? next.by.who != tether::proof::actor::container
                  : !begins_as(next.by, wanted, at))
          return true;
        if (!decided) {
          decided = calls.template read<Abstraction::unit>(next.by.what);
          if (next.by.what == tether::act::raise_holds && holds_are_refused)
            decided->how = tether::outcome::failed;
        }
        const bool not_yet = decided->half_way && !here_.containers[at.container].replay_will_fail;
        if (next.by.half_way != not_yet || (!not_yet && next.by.how != decided->how)) return true;
        taken = next;
        return false;
      });
      if (!taken || !calls.objection().empty()) {
        objection = !calls.objection().empty() ? calls.objection()
                    : begun                    ? "the world cannot go on as the container did"
                                               : "the world does not let this begin";
        return std::nullopt;
      }
      begun = true;
      here_ = taken->here;
      tether::proof::event const& by = taken->by;
      tether::proof::report const& said = taken->said;
      if (!by.half_way) decided.reset();
      reached.add(said.reached);
      if (said.broken != 0) {
        objection = "in the world a property is broken: " +
                    std::string{name_of(tether::proof::first_of(said.broken))};
        return std::nullopt;
      }
      note_failure(told, by, said);
      container_state const& container = here_.containers[at.container];
      if (!container.at_rest() && !container.diverged) continue;
      told.ended = ending_in(said);
      return told;
    }
  }

  /// The properties that do not hold in it.
  [[nodiscard]] tether::proof::broken_properties broken() const noexcept {
    return tether::proof::broken_in<Abstraction>(here_);
  }

  std::string objection;
  tether::proof::coverage reached{};

 private:
  struct place {
    std::size_t container = 0;
    std::array<std::size_t, Scope::groups> group{};
  };

  [[nodiscard]] static bool begins_as(tether::proof::event const& by, request const& wanted,
                                      place const& at) noexcept {
    return by.who == tether::proof::actor::caller && by.group == at.group[wanted.group] &&
           by.begins == wanted.begins && by.agrees == wanted.agrees &&
           by.mediated == wanted.mediated;
  }
  static void note_failure(answer& told, tether::proof::event const& by,
                           tether::proof::report const& said) noexcept {
    if (told.first_failed != tether::act::nothing) return;
    if (by.how != tether::outcome::done) told.first_failed = by.what;
    else if (said.reached.has(tether::act::judge, tether::outcome::failed))
      told.first_failed = tether::act::judge;
  }
  [[nodiscard]] static tether::ending ending_in(tether::proof::report const& said) noexcept {
    for (std::size_t what = 0; what < tether::operations; ++what) {
      for (const auto how :
           {tether::ending::finished, tether::ending::rolled_back, tether::ending::diverged}) {
        if (said.reached.has(static_cast<tether::operation>(what), how)) return how;
      }
    }
    return tether::ending::none;
  }

  /// Of identical containers, and of identical groups, only the first acts in the world: so this
  /// one swaps places with it.
  void stand_in_front(std::size_t real, std::size_t group) noexcept {
    place& mine = places_[real];
    const std::size_t first = first_like(here_.containers, mine.container);
    for (place& other : places_) {
      if (other.container != first) continue;
      std::swap(other.container, mine.container);
      break;
    }
    const std::size_t first_group =
        first_like(here_.containers[mine.container].groups, mine.group[group]);
    for (std::size_t& other : mine.group) {
      if (other != first_group) continue;
      std::swap(other, mine.group[group]);
      break;
    }
  }
  template <class States>
  [[nodiscard]] static std::size_t first_like(States const& all, std::size_t at) noexcept {
    std::size_t first = 0;
    while (all[first] != all[at]) ++first;
    return first;
  }

  tether::proof::world<Scope> here_{};
  std::array<place, Scope::containers> places_{};
};

}  // namespace tether_test::lockstep
