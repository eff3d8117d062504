// SPDX-License-Identifier: BSL-1.0
// Lockstep (law 28): a real container and the proof's world perform the same operations with the
// same faults. The container goes first; the world follows, with the outcomes that the container's
// journal shows; then their whole states are compared. What the proof has shown of the world holds
// of the container as far as this finds no difference.
//
//     operation, faults --> container --> calls and how each ended --> world --> the same calls, in the same order?
//                               |                                        |
//                               +---- counts, holds, divergence, facts ---+--- the same?
#pragma once

#include <support/lockstep_calls.hpp>
#include <support/lockstep_compare.hpp>
#include <support/lockstep_world.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/search/coverage.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace tether_test::lockstep {

/// What a user asks of a container, or of the gate.
enum class deed : std::uint8_t { attach, open, close, detach, abandon, require, unrequire };
struct operation {
  deed what = deed::attach;
  std::size_t container = 0;
  std::size_t group = 0;
  std::size_t device = 0;
  tether::consent agrees = tether::consent::none;
  /// no IOMMU stands behind the group: matters only when the first of it is attached
  bool mediated = false;
};
[[nodiscard]] inline std::string sentence(operation const& one) {
  constexpr const char* names[]{"attach",  "open",    "close",          "detach",
                                "abandon", "require", "end requirement"};
  std::string text = names[static_cast<std::size_t>(one.what)];
  if (one.what < deed::abandon)
    text.append(" ").append(name_of_device(one.container, one.group, one.device));
  else text.append(one.container == 0 ? " a" : " b");
  if (one.agrees == tether::consent::given) text += ", agreeing";
  if (one.mediated) text += ", mediated";
  return text;
}

/// What was done, for the figures.
struct totals {
  std::uint64_t sequences = 0;
  std::uint64_t operations = 0;
  /// of them: without a call, because they make no sense or the container has diverged
  std::uint64_t refused = 0;
  std::uint64_t finished = 0;
  std::uint64_t rolled_back = 0;
  std::uint64_t diverged = 0;
  std::uint64_t holds_refused = 0;
  std::uint64_t faults = 0;
  std::uint64_t calls = 0;

  void add(totals const& more) {
    sequences += more.sequences, operations += more.operations, refused += more.refused,
        finished += more.finished;
    rolled_back += more.rolled_back, diverged += more.diverged, holds_refused += more.holds_refused;
    faults += more.faults, calls += more.calls;
  }
};

/// Containers on one gate, and a world that follows them.
template <class Configuration>
class in_lockstep {
  using container_type = typename Configuration::container_type;
  using attached = typename container_type::attached;
  using opened = typename container_type::opened;
  static constexpr std::size_t most = 2;  ///< containers
  using scope = tether::proof::scope<most, groups, devices>;
  using abstraction = typename Configuration::abstraction;
  static constexpr bool of_groups = Configuration::unit == tether::attach_unit::group;

 public:
  using follower = world_follower<abstraction, scope>;

  /// Requires: one container or two.
  explicit in_lockstep(std::size_t containers) : used_{containers} {
    for (auto& list : lists_) list = std::make_unique<call_list>();
    start_anew();
  }
  in_lockstep(in_lockstep const&) = delete;
  in_lockstep& operator=(in_lockstep const&) = delete;
  ~in_lockstep() { end(); }

  /// Fresh containers and a fresh world. Whatever a destroyed container leaves behind is an
  /// objection.
  void start_anew() {
    end();
    if (!objection.empty()) return;
    gate_ = std::make_unique<tether::discard_gate<>>();
    world_ = {};
    open_ = {};
    handles_ = {};
    done_.clear();
    for (std::size_t i = 0; i < used_; ++i) {
      call_list& list = *lists_[i];
      list.kernel = {};
      typename container_type::backend_type backend{
          list.journal, typename Configuration::backend_type{list.kernel}};
      containers_[i].emplace(guest_.space, *gate_, std::move(backend), Configuration::kvm(list));
    }
    ++all.sequences;
  }

  /// Performs one operation with its faults, then compares. False: they differ, and `objection`
  /// says where.
  [[nodiscard]] bool take(operation what, std::span<fault const> faults = {}) {
    // Whether an IOMMU stands behind a group was decided when the first of it was attached.
    if (!of_groups && !open_[what.container][what.group].empty())
      what.mediated = world_.group(what.container, what.group).mediated;
    done_.push_back({what, {faults.begin(), faults.end()}});
    ++all.operations;
    for (std::size_t i = 0; i < used_; ++i)
      lists_[i]->begin(i == what.container ? faults : std::span<fault const>{});
    listening_memory::list = lists_[what.container].get();
    do_it(what);
    listening_memory::list = nullptr;
    for (auto& list : lists_) list->end();
    all.calls += calls_of(what).size();
    all.faults += lists_[what.container]->met;
    return objection.empty() && compare();
  }
  /// Faults of the last operation that have happened.
  [[nodiscard]] std::uint32_t faults_met() const {
    return lists_[done_.back().what.container]->met;
  }
  [[nodiscard]] bool diverged(std::size_t container) const {
    return world_.container(container).diverged;
  }

  /// Every operation that makes sense now; one of those that differ only in the device (symmetry
  /// reduction).
  [[nodiscard]] std::vector<operation> sensible() const {
    std::vector<operation> list;
    for (std::size_t c = 0; c < used_; ++c) {
      list.push_back({deed::abandon, c});
      if (diverged(c)) continue;
      for (std::size_t g = 0; g < groups; ++g) {
        auto const& there = open_[c][g];
        const bool is_attached = world_.group(c, g).counts.attached;
        const bool mediated =
            is_attached ? world_.group(c, g).mediated : !Configuration::pins || g == 1;
        const deed one_more = of_groups ? deed::open : deed::attach;
        if (of_groups && is_attached) list.push_back({deed::detach, c, g});
        if (of_groups && !is_attached)
          list.push_back({deed::attach, c, g, 0, tether::consent::none, mediated});
        if (of_groups && !is_attached) continue;
        if (there.size() < devices) {
          const std::size_t next = there.empty() || there[0].device != 0 ? 0 : 1;
          list.push_back({one_more, c, g, next, tether::consent::none, mediated});
          list.push_back({one_more, c, g, next, tether::consent::given, mediated});
        }
        for (auto const& one : there) {
          if (&one != &there.front() && one.agrees == there.front().agrees) continue;
          list.push_back({of_groups ? deed::close : deed::detach, c, g, one.device, one.agrees});
        }
      }
    }
    list.push_back({requirement_ ? deed::unrequire : deed::require});
    return list;
  }

  /// All operations since the last start, and the calls of the last one.
  [[nodiscard]] std::string description() const {
    std::string text;
    for (auto const& one : done_) {
      text.append("\n  ").append(sentence(one.what));
      for (fault const& bad : one.faults) {
        text.append(bad.how == trouble::fails ? ", call fails: " : ", call gets stuck: ")
            .append(std::to_string(bad.at));
      }
    }
    for (auto const& list : lists_) {
      for (call const& one : list->calls) text.append("\n    ").append(sentence(one));
    }
    return text + "\n" + objection;
  }

  std::string objection;
  totals all;
  /// What the world has reached, over all sequences.
  tether::proof::coverage reached;

 private:
  struct step_taken {
    operation what;
    std::vector<fault> faults;
  };
  struct group_handles {
    std::optional<attached> group;
    std::array<std::optional<opened>, devices> device;
  };

  template <class Value>
  [[nodiscard]] static tether::result<void> keep(tether::result<Value> outcome,
                                                 std::optional<Value>& place) {
    if (!outcome) return tether::failure(outcome.error());
    place.emplace(*outcome);
    return {};
  }

  // The container's step, then the world's.

  void do_it(operation const& what) {
    switch (what.what) {
      case deed::require: return require();
      case deed::unrequire: return requirement_.reset();
      case deed::abandon: return abandon(what.container);
      default: break;
    }
    if (!has_handle(what)) return;
    const tether::result<void> outcome = ask(what);
    if (const auto why = senseless(what)) {
      ++all.refused;
      if (outcome || !outcome.error().is(*why))
        object("it makes no sense, but was not refused for that", outcome);
      if (!calls_of(what).empty()) object("it makes no sense, but the backend was asked", outcome);
      return;
    }
    follow(what, outcome);
  }
  /// Without a handle a user cannot even make the call.
  [[nodiscard]] bool has_handle(operation const& what) const {
    auto const& handles = handles_[what.container][what.group];
    if (what.what == deed::attach) return true;
    if (!of_groups || what.what == deed::close) return handles.device[what.device].has_value();
    return handles.group.has_value();
  }
  [[nodiscard]] tether::result<void> ask(operation const& what) {
    container_type& container = *containers_[what.container];
    group_handles& mine = handles_[what.container][what.group];
    const auto pins = what.mediated ? tether::pin_class::pins_on_demand : tether::pin_class::pins;
    const auto group = name_of_group(what.container, what.group);
    const auto device = name_of_device(what.container, what.group, what.device);
    if constexpr (of_groups) {
      switch (what.what) {
        case deed::attach: return keep(container.attach(described_group{group, pins}), mine.group);
        case deed::open:
          return keep(mine.group->open(device, what.agrees), mine.device[what.device]);
        case deed::close: return mine.device[what.device]->close();
        default: return mine.group->detach();
      }
    } else {
      const described_device described{device, group, pins};
      if (what.what == deed::attach)
        return keep(container.attach(described, what.agrees), mine.device[what.device]);
      return mine.device[what.device]->detach();
    }
  }
  /// Why a container must refuse an operation that the world does not even know. Divergence is
  /// checked after whether the target exists, and before whether it is attached or open already.
  [[nodiscard]] std::optional<tether::errc> senseless(operation const& what) const {
    auto const& there = open_[what.container][what.group];
    const bool device_there =
        std::ranges::find(there, what.device, &open_device::device) != there.end();
    const bool group_there = world_.listed(what.container, what.group);
    const bool begins = what.what == deed::attach || what.what == deed::open;
    const bool about_device = !of_groups || what.what == deed::close;
    if (what.what == deed::open && !group_there) return tether::errc::stale_handle;
    if (!begins && !(about_device ? device_there : group_there)) return tether::errc::stale_handle;
    if (diverged(what.container)) return tether::errc::diverged;
    if (begins && (what.what == deed::attach && of_groups ? group_there : device_there))
      return tether::errc::already_there;
    return std::nullopt;
  }

  void follow(operation const& what, tether::result<void> const& outcome) {
    call_reader calls{calls_of(what), memory_, Configuration::pins};
    auto& there = open_[what.container][what.group];
    answer told{};
    bool goes_on = true;
    // A group that is detached first closes its open devices, in the order of opening: operations
    // of their own in the world.
    while (of_groups && what.what == deed::detach && !there.empty() && goes_on) {
      const operation close{deed::close, what.container, what.group, there.front().device,
                            there.front().agrees};
      if (!take_in_world(close, calls, told)) return;
      goes_on = told.ended == tether::ending::finished;
    }
    if (goes_on && !take_in_world(what, calls, told)) return;
    calls.expect_end();
    if (!calls.objection().empty()) objection = calls.objection();
    check_ending(told, what.container, outcome);
  }
  /// Performs one operation in the world, and updates the list of open devices.
  [[nodiscard]] bool take_in_world(operation const& what, call_reader& calls, answer& told) {
    using tether::change;
    auto& there = open_[what.container][what.group];
    const bool attaches = what.what == deed::attach;
    const bool detaches = what.what == deed::detach;
    request wanted{what.container, what.group, change::none, what.agrees, what.mediated};
    if (attaches) wanted.begins = of_groups ? change::attach : change::attach_device;
    else if (detaches) wanted.begins = of_groups ? change::detach : change::detach_device;
    else wanted.begins = what.what == deed::open ? change::open : change::close;
    if (!attaches) wanted.mediated = world_.group(what.container, what.group).mediated;
    const auto position = std::ranges::find(there, what.device, &open_device::device);
    if (wanted.begins == change::close || wanted.begins == change::detach_device)
      wanted.agrees = position->agrees;
    if (wanted.begins == change::attach || wanted.begins == change::detach)
      wanted.agrees = tether::consent::none;
    const bool of_a_device = wanted.begins != change::attach && wanted.begins != change::detach;
    at_work_[what.container] = of_a_device ? what.device : devices;
    calls.about(name_of_group(what.container, what.group),
                name_of_device(what.container, what.group, what.device));
    const auto ended = world_.take(wanted, calls, holds_are_refused());
    reached.add(world_.reached);
    if (!ended) {
      objection = world_.objection;
      return false;
    }
    told = *ended;
    const bool got_no_handle =
        told.ended == tether::ending::diverged && wanted.begins == change::attach;
    if (got_no_handle) handles_[what.container][what.group] = {};
    if (told.ended == tether::ending::finished) {
      if (wanted.begins == change::open || wanted.begins == change::attach_device)
        there.push_back({what.device, what.agrees});
      if (wanted.begins == change::close || wanted.begins == change::detach_device)
        there.erase(position);
    }
    return true;
  }
  /// The container's outcome must be the world's, and for the same reason.
  void check_ending(answer const& told, std::size_t container,
                    tether::result<void> const& outcome) {
    using tether::ending;
    if (told.ended == ending::finished) ++all.finished;
    if (told.ended == ending::rolled_back) ++all.rolled_back;
    if (told.ended == ending::diverged) ++all.diverged;
    const bool diverges = told.ended == ending::diverged;
    if (outcome.has_value() != (told.ended == ending::finished))
      object("the world says otherwise whether it succeeds", outcome);
    if (containers_[container]->diverged() != diverges)
      object("the world says otherwise whether it diverges", outcome);
    if (outcome) return;
    if (outcome.error().rollback_failed() != diverges)
      object("the world says otherwise whether it is stuck", outcome);
    bool right = outcome.error().is(tether::errc::memory_gone);
    if (told.first_failed == tether::act::judge) {
      right = outcome.error().is(tether::errc::consent_refused) ||
              outcome.error().is(tether::errc::mixed_group);
    } else if (told.first_failed == tether::act::raise_holds) {
      ++all.holds_refused;
      right = outcome.error().is(tether::errc::discards_required);
    }
    if (!right) object("the world failed for another reason", outcome);
  }

  void require() {
    constexpr auto kind = tether::requirement_kind::any;
    auto taken = gate_->require(kind, "whoever needs discards");
    if (taken.has_value() != (world_.all().holds() == 0))
      objection = "the world says otherwise whether somebody holds";
    if (taken) requirement_.emplace(std::move(*taken));
  }
  /// The world has no such operation: an abandoned container starts afresh there. Where it fails
  /// counts and holds stay, and it can be tried again.
  void abandon(std::size_t which) {
    container_type& container = *containers_[which];
    if (const auto given_up = container.abandon(); !given_up) {
      if (lists_[which]->met == 0) return object("abandon fails without a fault", given_up);
      if (!container.diverged())
        return object("abandon failed, but the container goes on", given_up);
      world_.has_diverged(which);
      if (const char* differing = comparison_of(which).counts(false))
        return static_cast<void>(differs(which, differing));
      if (!compare_gate()) return;
      lists_[which]->end();
      if (const auto at_last = container.abandon(); !at_last)
        return object("abandon fails once more, without a fault", at_last);
    }
    if (container.diverged()) objection = "it was abandoned, but says that it has diverged";
    world_.abandoned(which);
    open_[which] = {};
  }

  /// While discards are required, every request for a hold is refused.
  [[nodiscard]] bool holds_are_refused() const { return requirement_.has_value(); }
  [[nodiscard]] std::vector<call> const& calls_of(operation const& what) const {
    return lists_[what.container]->calls;
  }

  // The comparison.

  [[nodiscard]] comparison<Configuration, follower> comparison_of(std::size_t which) const {
    return {*containers_[which], lists_[which]->kernel, memory_, world_, which,
            open_[which],        at_work_[which]};
  }
  [[nodiscard]] bool compare() {
    for (std::size_t which = 0; which < used_; ++which) {
      const auto one = comparison_of(which);
      if (const char* what = one.counts()) return differs(which, what);
      if (const char* what = one.facts()) return differs(which, what);
      if (which != done_.back().what.container && !lists_[which]->calls.empty())
        return differs(which, "calls of its own");
    }
    return compare_gate();
  }
  [[nodiscard]] bool compare_gate() {
    tether::gate_counts counts = gate_->counts();
    if (counts.any_holds + counts.uncoordinated_holds != world_.all().holds())
      return differs(0, "the gate's holds");
    if (counts.of(container_type::policies::holds) != world_.all().holds())
      return differs(0, "the gate's kind of hold");
    if (counts.any_requirements != (requirement_ ? 1U : 0U) || counts.suspensions != 0)
      return differs(0, "the gate's requirements");
    if (world_.broken() != 0) return differs(0, "in the world itself something is broken");
    return true;
  }
  [[nodiscard]] bool differs(std::size_t which, const char* in) {
    if (objection.empty())
      objection =
          std::string{"container "} + (which == 0 ? "a" : "b") + " and the world differ: " + in;
    return false;
  }
  void object(const char* what, tether::result<void> const& outcome) {
    if (!objection.empty()) return;
    objection =
        std::string{what} + (outcome ? ": it succeeded" : ": " + outcome.error().sentence());
  }

  void end() {
    requirement_.reset();
    for (std::size_t i = 0; i < used_; ++i) {
      if (!containers_[i]) continue;
      containers_[i].reset();
      if (objection.empty() && !lists_[i]->kernel.nothing_left())
        objection = "a destroyed container has left something behind";
      if (objection.empty() && lists_[i]->kernel.forbidden != 0)
        objection = "a container's destructor asked what a kernel must refuse";
    }
    if (gate_ == nullptr || gate_->counts() == tether::gate_counts{}) return;
    if (objection.empty()) objection = "a destroyed container has left a hold behind";
    // it would stop the program before the difference is reported
    static_cast<void>(gate_.release());
  }

  std::size_t used_;
  shared_guest guest_;
  layout memory_ = shared_guest::cut(Configuration::block_size);
  std::array<std::unique_ptr<call_list>, most> lists_;
  std::unique_ptr<tether::discard_gate<>> gate_;
  std::optional<tether::requirement<tether::multi_threaded>> requirement_;
  std::array<std::optional<container_type>, most> containers_;
  std::array<std::array<group_handles, groups>, most> handles_;
  std::array<open_devices, most> open_;
  /// the device that the last operation was about; `devices` if it was about none
  std::array<std::size_t, most> at_work_{};
  follower world_;
  std::vector<step_taken> done_;
};

}  // namespace tether_test::lockstep
