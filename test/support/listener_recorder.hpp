// SPDX-License-Identifier: BSL-1.0
// A memory listener that keeps the contract and checks that its caller does: it knows what is
// mapped, records every call, notes each breach, and refuses the commits that a test chooses.
#pragma once

#include <tether/core/error.hpp>
#include <tether/topology/memory_listener.hpp>
#include <tether/topology/section.hpp>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tether_test {

/// The calls of several recorders in one order. Sections are written as `+ram[0,fff]`.
using listener_calls = std::vector<std::string>;

class listener_recorder {
 public:
  listener_recorder() = default;
  /// Several recorders may share a list of calls; `who` then stands before each entry.
  listener_recorder(std::string who, listener_calls& shared)
      : who_{std::move(who)}, calls_{&shared} {}
  listener_recorder(listener_recorder const&) = delete;
  listener_recorder& operator=(listener_recorder const&) = delete;

  void begin(tether::commit_kind kind) noexcept {
    enter();
    if (open_) breaches.push_back("begin inside a change");
    open_ = true;
    adding_ = false;
    kind_ = kind;
    before_ = mapped_;
    removed_.clear();
    write(kind == tether::commit_kind::compulsory ? "begin!" : "begin");
    ++begins;
    leave();
  }
  void remove(tether::section const& one) noexcept {
    enter();
    if (!open_) breaches.push_back("remove outside a change");
    if (adding_) breaches.push_back("a removal after an addition");
    const auto at = mapped_.find(one.where.first.value);
    if (at == mapped_.end() || !(at->second == one))
      breaches.push_back("removed what was not there: " + text(one));
    else mapped_.erase(at);
    removed_.push_back(one);
    write("-" + text(one));
    leave();
  }
  void add(tether::section const& one) noexcept {
    enter();
    if (!open_) breaches.push_back("add outside a change");
    adding_ = true;
    for (auto const& [first, other] : mapped_)
      if (other.where.overlaps(one.where))
        breaches.push_back("added where something is: " + text(one));
    mapped_.emplace(one.where.first.value, one);
    write("+" + text(one));
    leave();
  }
  [[nodiscard]] tether::result<void> commit() noexcept {
    enter();
    if (!open_) breaches.push_back("commit outside a change");
    open_ = false;
    ++commits;
    const bool refuses = refuse_at != 0 && --refuse_at == 0;
    write(refuses ? "refuse" : "commit");
    if (on_commit != nullptr) on_commit(*this);
    leave();
    if (!refuses) return {};
    const auto keep_refusing = std::exchange(then_refuse_at, 0);
    refuse_at = keep_refusing;
    if (kind_ == tether::commit_kind::refusable) {
      mapped_ = before_;
    } else {
      for (auto const& gone : removed_) before_.erase(gone.where.first.value);
      mapped_ = before_;
    }
    const tether::error why{"follow", tether::errc::over_budget};
    return tether::failure(why.of(who_.empty() ? "recorder" : who_));
  }

  /// What is mapped, ascending.
  [[nodiscard]] std::vector<tether::section> mapped() const {
    std::vector<tether::section> all;
    for (auto const& [first, one] : mapped_) all.push_back(one);
    return all;
  }
  [[nodiscard]] listener_calls const& written() const noexcept { return *calls_; }
  void forget() { calls_->clear(); }

  /// The n-th commit from now (1 = the next) is refused; after that, the `then_refuse_at`-th from
  /// there.
  std::uint64_t refuse_at = 0;
  std::uint64_t then_refuse_at = 0;
  std::uint64_t begins = 0;
  std::uint64_t commits = 0;
  /// Breaches of the contract by the caller. Empty in a correct program.
  std::vector<std::string> breaches;
  /// Called inside each commit.
  void (*on_commit)(listener_recorder&) = nullptr;
  void* context = nullptr;

 private:
  static std::string hex(std::uint64_t value) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%llx", static_cast<unsigned long long>(value));
    return digits;
  }
  static std::string text(tether::section const& one) {
    return std::string{one.name} + "[" + hex(one.where.first.value) + "," +
           hex(one.where.last.value) + "]" + (one.read_only ? "r" : "");
  }
  void write(std::string what) {
    calls_->push_back(who_.empty() ? std::move(what) : who_ + ": " + std::move(what));
  }

  // A listener is never called from two threads at once.
  void enter() {
    if (inside_.exchange(true)) breaches.push_back("called from two threads at once");
  }
  void leave() { inside_.store(false); }

  std::string who_;
  listener_calls own_;
  listener_calls* calls_ = &own_;
  std::map<std::uint64_t, tether::section> mapped_;
  std::map<std::uint64_t, tether::section> before_;
  std::vector<tether::section> removed_;
  tether::commit_kind kind_ = tether::commit_kind::refusable;
  bool open_ = false;
  bool adding_ = false;
  std::atomic<bool> inside_{false};
};

static_assert(tether::memory_listener<listener_recorder>);

}  // namespace tether_test
