// SPDX-License-Identifier: BSL-1.0
// What lockstep tries: every sequence of operations up to a length with every single fault, each in
// a fresh container and a fresh world; and long random sequences with up to three faults in an
// operation.
#pragma once

#include <support/amount.hpp>
#include <support/lockstep.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/search/coverage.hpp>
#include <tether/proof/search/trace_text.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace tether_test::lockstep {

template <class Configuration>
class all_sequences {
 public:
  /// Every sequence of `length` operations: without a fault, and with a fault of either kind at
  /// each call of each operation.
  void run(std::size_t length) {
    length_ = length;
    extend(false);
    pair.start_anew();
  }
  in_lockstep<Configuration> pair{1};

 private:
  struct step {
    operation what;
    std::vector<fault> faults;
  };

  /// Replays what has been chosen so far in fresh containers.
  [[nodiscard]] bool play() {
    pair.start_anew();
    for (step const& one : chosen_) {
      if (!pair.objection.empty() || !pair.take(one.what, one.faults)) return false;
    }
    return true;
  }
  void extend(bool had_fault) {
    if (!play()) return;
    if (chosen_.size() == length_) return;
    for (operation const& what : pair.sensible()) {
      try_step({what, {}}, had_fault);
      if (had_fault) continue;
      // The fault moves on until it lies behind the operation's last call.
      bool met = true;
      for (std::uint32_t at = 1; met; ++at) {
        for (const trouble how : {trouble::fails, trouble::gets_stuck}) {
          if (!pair.objection.empty()) return;
          chosen_.push_back({what, {{at, how}}});
          met = play() && pair.faults_met() == 1;
          chosen_.pop_back();
          if (!met) break;
          try_step({what, {{at, how}}}, true);
        }
      }
    }
  }
  void try_step(step one, bool had_fault) {
    if (!pair.objection.empty()) return;
    chosen_.push_back(std::move(one));
    extend(had_fault);
    if (pair.objection.empty()) chosen_.pop_back();
  }

  std::vector<step> chosen_;
  std::size_t length_ = 0;
};

/// Random sequences, `operations` in all.
template <class Configuration>
void random_sequences(in_lockstep<Configuration>& pair, std::uint64_t operations,
                      std::uint64_t seed) {
  constexpr std::uint64_t length = 40;
  std::mt19937_64 random{seed};
  const auto below = [&](std::uint64_t bound) {
    return static_cast<std::size_t>(random() % bound);
  };
  std::vector<fault> faults;
  for (std::uint64_t done = 0; done < operations; ++done) {
    if (done % length == 0) pair.start_anew();
    if (!pair.objection.empty()) return;
    operation what{};
    if (below(10) != 0) {
      auto possible = pair.sensible();
      const auto needless = [&](operation const& one) {
        return one.what == deed::abandon && !pair.diverged(one.container);
      };
      if (below(8) != 0) std::erase_if(possible, needless);
      what = possible[below(possible.size())];
    } else {  // may make no sense
      what = {static_cast<deed>(below(4)), below(2), below(groups), below(devices)};
      constexpr bool of_groups = Configuration::unit == tether::attach_unit::group;
      if (!of_groups && what.what == deed::open) what.what = deed::attach;
      if (!of_groups && what.what == deed::close) what.what = deed::detach;
      if (!of_groups || what.what == deed::open)
        what.agrees = static_cast<tether::consent>(below(2));
      what.mediated = !Configuration::pins || below(2) != 0;
    }
    faults.clear();
    // Few faults, so that much gets attached; often close together, so that they hit a rollback.
    if (below(4) == 0) {
      const std::size_t how_many = 1 + below(3);
      auto at = static_cast<std::uint32_t>(1 + below(8));
      for (std::size_t i = 0; i < how_many; ++i) {
        faults.push_back({at, below(3) == 0 ? trouble::gets_stuck : trouble::fails});
        at += static_cast<std::uint32_t>(1 + below(3));
      }
    }
    if (!pair.take(what, faults)) return;
  }
  pair.start_anew();
}

/// The objection, with everything that led to it.
template <class Configuration>
void judge(in_lockstep<Configuration> const& pair) {
  const std::string told = pair.objection.empty() ? std::string{} : pair.description();
  const std::uint64_t seed_used = seed();
  CAPTURE(seed_used);
  CHECK(told == "");
}

inline void print_figures(std::string const& of, std::size_t length, totals const& all) {
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  const std::string text = number(all.operations) + " operations (all sequences of " +
                           number(length) + ", and random ones), " + number(all.faults) +
                           " faults, " + number(all.calls) + " backend calls; " +
                           number(all.finished) + " finished, " + number(all.rolled_back) +
                           " rolled back, " + number(all.diverged) + " diverged, " +
                           number(all.holds_refused) + " holds refused";
  std::printf("figures: lockstep, %s: %s\n", of.c_str(), text.c_str());
}

/// One configuration: all sequences of one container, then random ones of two containers on one
/// gate.
template <class Configuration>
void check(std::string const& name) {
  // Longer by one makes it ten times as much.
  const std::size_t length = slowdown != 1 ? 3 : from_environment("TETHER_AMOUNT", 1) < 10 ? 4 : 5;
  all_sequences<Configuration> all;
  all.run(length);
  judge(all.pair);
  in_lockstep<Configuration> two{2};
  random_sequences(two, amount(60'000), seed());
  judge(two);
  // A comparison in which something never happened says nothing about it.
  const auto missing =
      two.reached.lacks(tether::proof::demanded<typename Configuration::abstraction>());
  if (slowdown == 1) CHECK(std::string{tether::proof::describe_trace(missing).view()} == "");
  totals sum = all.pair.all;
  sum.add(two.all);
  print_figures(name, length, sum);
}

/// A user's policy that looks at both scopes: the group's hold until it needs none, and one more
/// for the container meanwhile.
struct holds_twice {
  using slot = tether::inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
  [[nodiscard]] static constexpr std::uint32_t holds(tether::container_counts container) noexcept {
    return container.need_no_hold < container.members ? 1 : 0;
  }
};

/// Every policy, with KVM told and not told, with blocks, and where nothing is pinned.
template <tether::attach_unit Unit>
void check_every_policy() {
  using namespace tether;
  const std::string unit = Unit == attach_unit::group ? "groups, " : "devices, ";
  const auto told = [&](const char* what) { return unit + what; };
  SUBCASE("inhibit_per_container") {
    check<compared<true, Unit, false, inhibit_per_container>>(told("inhibit_per_container"));
  }
  SUBCASE("inhibit_per_group") {
    check<compared<true, Unit, false, inhibit_per_group>>(told("inhibit_per_group"));
  }
  SUBCASE("inhibit_per_device") {
    check<compared<true, Unit, false, inhibit_per_device>>(told("inhibit_per_device"));
  }
  SUBCASE("a policy that holds for groups and for the container") {
    check<compared<true, Unit, false, holds_twice>>(told("both scopes"));
  }
  SUBCASE("maps go block by block, and holds are uncoordinated") {
    check<compared<true, Unit, false, inhibit_per_group, fixed_block<4 * KiB>>>(told("blocks"));
  }
  SUBCASE("nothing is pinned, and nobody held down") {
    check<compared<false, Unit, false, no_inhibition>>(told("nothing pinned"));
  }
  SUBCASE("KVM told, inhibit_per_container") {
    check<compared<true, Unit, true, inhibit_per_container>>(
        told("KVM told, inhibit_per_container"));
  }
  SUBCASE("KVM told, inhibit_per_group") {
    check<compared<true, Unit, true, inhibit_per_group>>(told("KVM told, inhibit_per_group"));
  }
  SUBCASE("KVM told, inhibit_per_device") {
    check<compared<true, Unit, true, inhibit_per_device>>(told("KVM told, inhibit_per_device"));
  }
}

}  // namespace tether_test::lockstep
