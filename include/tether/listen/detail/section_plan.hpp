// SPDX-License-Identifier: BSL-1.0
// How one section would be mapped, computed before anything is touched: filter, fit to pages,
// aperture, number of pieces. So whatever can be refused is refused up front (law 14).
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/detail/locked_memory.hpp>
#include <tether/core/error.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/listen/detail/section_filter.hpp>
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/section.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

namespace tether::detail {

/// A section and how it is mapped. `pieces == 0`: it is not.
struct section_plan {
  section what{};
  /// `fit.inside` is what to map, `fit.trimmed` the bytes lost at its edges
  fitting fit{};
  block_offset offset{};  ///< where `fit.inside` begins in its RAM block
  std::uint64_t pieces = 0;
};

/// The mapping that covers all of a section: an identity map, IOVA = GPA.
[[nodiscard]] inline mapping mapping_of(section const& one) noexcept {
  return {.where = one.where.moved_to(io_address{one.where.first.value}),
          .host = one.host(),
          .rights = one.rights(),
          .memory = one.kind == region_kind::ram_device ? memory_kind::device : one.memory->kind()};
}

/// Cuts a section down to what `Granularity` maps under these page sizes. Pure: the same section
/// and sizes give the same plan, so what was mapped need not be remembered (law 13).
template <granularity Granularity>
[[nodiscard]] section_plan plan_section(section const& one, page_sizes sizes) noexcept {
  section_plan plan{.what = one};
  const treatment how = treatment_of(one);
  if (how == treatment::skip || how == treatment::refuse) return plan;
  const mapping raw = mapping_of(one);
  plan.fit = fit_to_pages(raw, sizes.smallest());
  if (!plan.fit.mappable()) return plan;
  plan.offset = one.offset + (plan.fit.inside.where.first - raw.where.first);
  plan.pieces = Granularity::pieces(plan.fit.inside, plan.offset, sizes);
  return plan;
}

/// Refuses a plan that must not be mapped. One without pieces passes: it is merely left out.
/// Requires: `usable` is sorted and disjoint. Cost: log N for N ranges. Fails: `not_congruent`,
/// `not_aligned`, `granularity_mismatch`, `outside_aperture`, `unsupported`.
template <granularity Granularity, edges Edges>
[[nodiscard]] result<void> check_plan(section_plan const& plan, page_sizes sizes,
                                      std::span<extent<io_address> const> usable) noexcept {
  const auto refused = [&](errc why) {
    return error{"map", why}.at(plan.what.where).of(plan.what.name);
  };
  const treatment how = treatment_of(plan.what);
  if (how == treatment::skip) return {};
  if (how == treatment::refuse) {
    return failure(
        refused(errc::unsupported)
            .advise("IOMMU windows cannot be followed yet; leave it out of this address space"));
  }
  if (Edges::refuses(plan.fit.how, how == treatment::map)) {
    const auto why =
        plan.fit.how == fitting::verdict::not_congruent ? errc::not_congruent : errc::not_aligned;
    return failure(refused(why).advise("place it, and its memory, on multiples of {} bytes",
                                       sizes.smallest()));
  }
  if (plan.pieces == 0) return {};
  if (!cuts_between_pages<Granularity>(plan.fit.inside, plan.offset, sizes)) {
    return failure(
        refused(errc::granularity_mismatch)
            .advise("use blocks that are multiples of {} bytes, and place memory on them",
                    sizes.smallest()));
  }
  if constexpr (maps_in_blocks<Granularity>) {
    if (auto const* const units = plan.what.memory->population(); units != nullptr) {
      if (units->unit_size() % Granularity::block_size != 0)
        return failure(refused(errc::granularity_mismatch)
                           .advise("its memory is divided into units of {} bytes: use blocks that "
                                   "divide them",
                                   units->unit_size()));
      if (!units->covers(plan.fit.inside.where.moved_to(plan.offset)))
        return failure(refused(errc::past_the_end)
                           .advise("its file has grown since it was divided into units"));
    }
  }
  const extent<io_address> where = plan.fit.inside.where;
  const auto reaching = std::ranges::partition_point(
      usable, [&](extent<io_address> const& range) { return range.last < where.last; });
  if (reaching == usable.end() || !reaching->contains(where))
    return failure(
        refused(errc::outside_aperture).advise("place it inside one range of usable_iova()"));
  return {};
}

/// How many pieces of `block` bytes a plan would take, on the grid of its RAM block.
[[nodiscard]] constexpr std::uint64_t pieces_in_blocks(section_plan const& plan,
                                                       std::uint64_t block) noexcept {
  const std::uint64_t first = plan.offset.value;
  const std::uint64_t last = first + (plan.fit.inside.where.last - plan.fit.inside.where.first);
  return last / block - first / block + 1;
}

/// The smallest block, in bytes, with which `plans` take no more than `available` mappings; 0 if
/// none does.
[[nodiscard]] constexpr std::uint64_t block_that_fits(std::span<section_plan const> plans,
                                                      std::uint64_t available) noexcept {
  for (std::uint64_t block = 4 * KiB; block != 0; block <<= 1) {
    std::uint64_t needed = 0;
    for (section_plan const& plan : plans)
      needed += plan.pieces == 0 ? 0 : pieces_in_blocks(plan, block);
    if (needed <= available) return block;
  }
  return 0;
}

/// The error for a plan that needs more mappings than are left; blocks of `block` bytes would have
/// fitted, 0 if none would.
[[nodiscard]] inline error over_budget(section_plan const& plan, std::uint64_t block) noexcept {
  const error why = error{"map", errc::over_budget}.at(plan.fit.inside.where).of(plan.what.name);
  return block != 0 ? why.advise("use blocks of {} bytes or larger", block)
                    : why.advise("raise the container's mapping limit");
}

/// What a mapping counts for against the limit of locked memory: its size, unless `Backend` says by
/// `charged_bytes` that it is more. Units: bytes.
template <class Backend>
[[nodiscard]] std::uint64_t charged_bytes_of(mapping const& what) noexcept {
  if constexpr (requires { Backend::charged_bytes(what); }) return Backend::charged_bytes(what);
  else return what.where.size();
}

/// `why` the plan at `refused` was; where that is for want of locked memory, with what the plans
/// from there on would be refused for next.
template <class Backend>
[[nodiscard, gnu::cold, gnu::noinline]] error with_the_rest(std::span<section_plan const> plans,
                                                            std::size_t refused,
                                                            error const& why) noexcept {
  if (!counts_locked_memory(why) || !why.has_extent()) return why;
  std::uint64_t bytes = 0;
  for (std::size_t i = refused; i < plans.size(); ++i) {
    mapping rest = plans[i].fit.inside;
    if (plans[i].pieces == 0) continue;
    if (i == refused) {
      if (rest.where.last.value <= why.last()) continue;
      rest.host = rest.host + (why.last() + 1 - rest.where.first.value);
      rest.where.first = io_address{why.last() + 1};
    }
    bytes += charged_bytes_of<Backend>(rest);
  }
  return why.with_more(bytes / KiB);
}

/// Fits plans into `available` mappings, first those that devices must see. Calls
/// `leave_out(plan, why)` for each other one that there is no room for. Fails: `over_budget`.
template <class LeaveOut>
[[nodiscard]] result<void> fit_to_budget(std::span<section_plan> plans, std::uint64_t available,
                                         LeaveOut leave_out) noexcept {
  std::uint64_t left = available;
  for (const bool optional : {false, true})
    for (section_plan& plan : plans) {
      if ((treatment_of(plan.what) == treatment::may_map) != optional) continue;
      if (plan.pieces <= left) left -= plan.pieces;
      else if (optional) leave_out(plan, over_budget(plan, 0));
      else return failure(over_budget(plan, block_that_fits(plans, available)));
    }
  return {};
}

/// Why a section that passes the filter but contains no whole page is left out.
[[nodiscard]] inline error no_whole_page(section const& what, page_sizes sizes) noexcept {
  return error{"map", errc::not_aligned}
      .at(what.where)
      .of(what.name)
      .advise("the IOMMU's pages are {} bytes", sizes.smallest());
}

/// Plans what a change adds; `available` mappings are free. Calls `leave_out(plan, why)` for each
/// that is memory and will not be mapped. Fails: as `check_plan` and `fit_to_budget`.
template <granularity Granularity, edges Edges, class LeaveOut>
[[nodiscard]] result<void> plan_additions(std::span<section_plan> added, page_sizes sizes,
                                          std::span<extent<io_address> const> usable,
                                          std::uint64_t available, LeaveOut leave_out) noexcept {
  for (section_plan& plan : added) {
    plan = plan_section<Granularity>(plan.what, sizes);
    const treatment how = treatment_of(plan.what);
    if (auto checked = check_plan<Granularity, Edges>(plan, sizes, usable); !checked) {
      if (how != treatment::may_map) return checked;
      leave_out(plan, checked.error());
    } else if (plan.pieces == 0 && how != treatment::skip) {
      leave_out(plan, no_whole_page(plan.what, sizes));
    }
  }
  return fit_to_budget(added, available, leave_out);
}

/// Why nothing is mapped or unmapped since a rollback failed (law 6).
[[nodiscard]] inline error refused_since(error const& divergence) noexcept {
  return error{"change mappings", errc::diverged}.of(divergence.subject()).advise("call abandon()");
}

/// Whether a change goes on without this section after `why`: another device's BAR that the kernel
/// refuses to map (law 14).
[[nodiscard]] inline bool may_be_left_out(section_plan const& plan, error const& why) noexcept {
  return treatment_of(plan.what) == treatment::may_map && !why.rollback_failed() &&
         why.code() != std::make_error_code(std::errc::operation_canceled);
}

}  // namespace tether::detail
