// SPDX-License-Identifier: BSL-1.0
// What a listener has mapped: sections as a whole, or, where a granularity maps in blocks and the
// memory is divided, the populated units of a section. Without blocks nothing is added to the
// section_mapper, neither a byte nor an instruction.
#pragma once

#include <tether/core/error.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/listen/detail/kept_memory.hpp>
#include <tether/listen/detail/section_mapper.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/listen/detail/unit_mapper.hpp>
#include <tether/listen/mapped_usage.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/progress.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace tether::detail {

/// For granularities without blocks. Not thread-safe; the listener locks around it.
template <class Backend, granularity Granularity, observation Observation, class Mutex, class Order>
class mapped_sections : public section_mapper<Backend, Granularity, Observation, Order> {
  using base = section_mapper<Backend, Granularity, Observation, Order>;

 public:
  mapped_sections(Backend& backend, Mutex&) noexcept : base{backend}, backend_{backend} {}

  void begin_change(bool) noexcept { this->refresh_sizes(); }
  /// The change has happened; these sections are gone.
  void keep(std::vector<section_plan> const&) noexcept {}
  void roll_back() noexcept {}
  void name(std::string_view container) noexcept { name_ = container; }
  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  /// A rollback failed; `divergence` says the first reason, until `reset`.
  void diverge(error const& why) noexcept {
    divergence_ = divergence_.value_or(why);
    notify_diverged(this->observer(), why);
  }
  [[nodiscard]] std::optional<error> const& divergence() const noexcept { return divergence_; }
  void reset() noexcept {
    base::reset();
    divergence_.reset();
  }
  void keep_units(kept_memory&) noexcept {}

  /// Unmaps what the change in progress has added, or maps what it has removed.
  bool unmap_added(section_plan const& plan) noexcept { return this->unmap(plan).has_value(); }
  bool map_again(section_plan const& plan) noexcept {
    unmonitored none;
    return this->map(plan, none).has_value();
  }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept { return backend_.free_mappings(); }
  [[nodiscard]] bool nothing_mapped() const noexcept { return this->usage().mappings == 0; }

 private:
  Backend& backend_;
  std::optional<error> divergence_;
  std::string_view name_{};
};

/// For those with blocks. The functions are those of `section_mapper` and of the class above.
template <class Backend, granularity Granularity, observation Observation, class Mutex, class Order>
  requires maps_in_blocks<Granularity>
class mapped_sections<Backend, Granularity, Observation, Mutex, Order>
    : private section_mapper<Backend, Granularity, Observation, Order> {
  using base = section_mapper<Backend, Granularity, Observation, Order>;

 public:
  mapped_sections(Backend& backend, Mutex& mutex) noexcept
      : base{backend}, backend_{backend}, units_{*this, mutex} {}

  using base::observer, base::populate_read_only, base::sizes;

  /// The page sizes also stay while what is followed is discarded: it comes back as it was cut.
  void begin_change(bool rolls_back) noexcept {
    units_.sections().begin_change(rolls_back);
    if (units_.sections().empty()) this->refresh_sizes();
  }
  void keep(std::vector<section_plan> const& removed) noexcept { units_.sections().keep(removed); }
  void roll_back() noexcept { units_.sections().roll_back(); }
  void name(std::string_view container) noexcept { units_.name(container); }
  [[nodiscard]] std::string_view name() const noexcept { return units_.name(); }
  void diverge(error const& why) noexcept { units_.diverge(why); }
  void keep_units(kept_memory& by) noexcept { units_.keep_units(by); }
  [[nodiscard]] std::optional<error> const& divergence() const noexcept {
    return units_.divergence();
  }
  [[nodiscard]] mapped_usage usage() const noexcept {
    mapped_usage now = base::usage();
    now.discarded = units_.sections().discarded();
    return now;
  }

  template <progress_monitor Monitor>
  [[nodiscard]] result<void> map(section_plan const& plan, Monitor& monitor) noexcept {
    auto* const divided = plan.what.memory->population();
    if (divided != nullptr) [[unlikely]]
      return units_.map(plan, *divided, monitor);
    return base::map(plan, monitor);
  }
  [[nodiscard]] result<void> unmap(section_plan const& plan) noexcept {
    auto* const followed = units_.sections().find(plan.what);
    if (followed != nullptr) [[unlikely]]
      return units_.unmap(*followed);
    return base::unmap(plan);
  }
  bool unmap_added(section_plan const& plan) noexcept {
    auto* const followed = units_.sections().added(plan.what);
    return followed != nullptr ? units_.unmap(*followed).has_value()
                               : base::unmap(plan).has_value();
  }
  bool map_again(section_plan const& plan) noexcept {
    unmonitored none;
    auto* const followed = units_.sections().find(plan.what);
    return followed != nullptr ? units_.map(*followed, none).has_value()
                               : base::map(plan, none).has_value();
  }
  /// Less those that discarded units may take again at any time.
  [[nodiscard]] std::uint64_t free_mappings() const noexcept {
    const std::uint64_t all = backend_.free_mappings();
    return all - std::min(all, units_.sections().reserved());
  }
  [[nodiscard]] bool nothing_mapped() const noexcept {
    return base::usage().mappings == 0 && units_.sections().empty();
  }
  void reset() noexcept {
    units_.forget_all();
    base::reset();
  }

 private:
  Backend& backend_;
  unit_mapper<base, Granularity, Mutex, Order> units_;
};

}  // namespace tether::detail
