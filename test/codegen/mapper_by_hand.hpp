// SPDX-License-Identifier: BSL-1.0
// What one would write for one IOMMU and one way of cutting, without tether: plain numbers, one
// loop around the system call, counters. Nothing of listen/ or granule/ but the plan that both
// sides are given is used here.
#pragma once

#include <codegen/fake_iommu.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/topology/memory_backing.hpp>

#include <bit>
#include <cstdint>
#include <exception>
#include <map>
#include <system_error>

namespace codegen {

/// What a mapper keeps, by hand. `State` of the three below.
template <bool Pins>
struct mapper_state {
  fake_iommu<Pins>* backend;
  std::uint64_t sizes = 4 * tether::KiB;
  std::uint64_t mappings = 0;
  std::uint64_t bytes = 0;
  std::uint64_t discarded = 0;  // of units: none here
  /// What must be there before anything begins to pin it.
  struct needed {
    tether::memory_backing* memory;
    std::uint64_t first;
    std::uint64_t last;
  };
  std::map<std::uint64_t, needed> read_only{};  // by IOVA

  using plan_type = tether::detail::section_plan;

  static bool needs_pages(plan_type const& plan) noexcept {
    return Pins && (static_cast<unsigned>(plan.fit.inside.rights) & 2U) == 0 &&
           (plan.fit.inside.memory == tether::memory_kind::private_anonymous ||
            plan.fit.inside.memory == tether::memory_kind::private_file);
  }
  [[gnu::cold, gnu::noinline]] tether::result<void> fault_in(plan_type const& plan) noexcept {
    const std::uint64_t length =
        plan.fit.inside.where.last.value - plan.fit.inside.where.first.value;
    try {
      read_only.insert_or_assign(
          plan.fit.inside.where.first.value,
          needed{plan.what.memory, plan.offset.value, plan.offset.value + length});
    } catch (std::exception const&) {
      return tether::failure(
          tether::error{"map", std::make_error_code(std::errc::not_enough_memory)});
    }
    return plan.what.memory->populate(
        {plan.offset, tether::block_offset{plan.offset.value + length}});
  }
  int map_piece(plan_type const& plan, std::uint64_t iova, std::uint64_t host,
                std::uint64_t size) const noexcept {
    return codegen_map(backend->container, iova, size, host,
                       static_cast<unsigned>(plan.fit.inside.rights));
  }
  [[gnu::cold, gnu::noinline]] void forget(plan_type const& plan) noexcept {
    read_only.erase(plan.fit.inside.where.first.value);
  }
  /// Unmaps what is before `stopped_at`.
  [[gnu::cold, gnu::noinline]] tether::result<void> take_back(plan_type const& plan,
                                                              std::uint64_t stopped_at,
                                                              tether::error why) noexcept {
    const std::uint64_t first = plan.fit.inside.where.first.value;
    why = why.of(plan.what.name);
    if (needs_pages(plan)) forget(plan);
    if (stopped_at != first && codegen_unmap(backend->container, first, stopped_at - first) != 0)
      why = why.with_failed_rollback();
    return tether::failure(why);
  }
  tether::result<void> mapped(plan_type const& plan, std::uint64_t first,
                              std::uint64_t last) noexcept {
    mappings += plan.pieces;
    bytes += last - first + 1;
    return {};
  }

  tether::result<void> unmap(plan_type const& plan) noexcept {
    if (const int answer =
            codegen_unmap(backend->container, plan.fit.inside.where.first.value, size_of(plan));
        answer != 0) [[unlikely]] {
      return tether::failure(refusal("unmap", answer).of(plan.what.name));
    }
    if (needs_pages(plan)) [[unlikely]]
      forget(plan);
    mappings -= plan.pieces;
    bytes -= size_of(plan);
    return {};
  }
  static std::uint64_t size_of(plan_type const& plan) noexcept {
    return plan.fit.inside.where.last.value - plan.fit.inside.where.first.value + 1;
  }
};

template <bool Pins, class Granularity>
struct mapper_by_hand;

template <bool Pins>
struct mapper_by_hand<Pins, tether::whole_section> : mapper_state<Pins> {
  tether::result<void> map(tether::detail::section_plan const& plan) noexcept {
    if (this->needs_pages(plan)) [[unlikely]] {
      if (auto present = this->fault_in(plan); !present) return present;
    }
    const std::uint64_t iova = plan.fit.inside.where.first.value;
    const std::uint64_t last = plan.fit.inside.where.last.value;
    if (const int answer = this->map_piece(plan, iova, plan.fit.inside.host.value, last - iova + 1);
        answer != 0) [[unlikely]] {
      return this->take_back(plan, iova, refusal("map", answer));
    }
    return this->mapped(plan, iova, last);
  }
};

template <bool Pins>
struct mapper_by_hand<Pins, tether::largest_page> : mapper_state<Pins> {
  tether::result<void> map(tether::detail::section_plan const& plan) noexcept {
    if (this->needs_pages(plan)) [[unlikely]] {
      if (auto present = this->fault_in(plan); !present) return present;
    }
    const std::uint64_t first = plan.fit.inside.where.first.value;
    const std::uint64_t last = plan.fit.inside.where.last.value;
    const std::uint64_t end = last + 1;
    std::uint64_t iova = first;
    std::uint64_t host = plan.fit.inside.host.value;
    for (;;) {
      const std::uint64_t left = end - iova;
      const std::uint64_t bits = iova | host;
      // all powers of two that divide both
      const std::uint64_t aligned = bits ^ (bits - 1);
      // 0 stands for 2^64
      const std::uint64_t no_larger = ~std::uint64_t{0} >> (std::countl_zero(left) & 63);
      const std::uint64_t fits = this->sizes & aligned & no_larger;
      const std::uint64_t piece =
          fits != 0 ? (std::uint64_t{1} << 63) >> std::countl_zero(fits) : left;
      if (const int answer = this->map_piece(plan, iova, host, piece); answer != 0) [[unlikely]] {
        return this->take_back(plan, iova, refusal("map", answer));
      }
      iova += piece;
      if (iova == end) break;
      host += piece;
    }
    return this->mapped(plan, first, last);
  }
};

template <bool Pins, std::uint64_t Block>
struct mapper_by_hand<Pins, tether::fixed_block<Block>> : mapper_state<Pins> {
  tether::result<void> map(tether::detail::section_plan const& plan) noexcept {
    if (this->needs_pages(plan)) [[unlikely]] {
      if (auto present = this->fault_in(plan); !present) return present;
    }
    const std::uint64_t first = plan.fit.inside.where.first.value;
    const std::uint64_t last = plan.fit.inside.where.last.value;
    const std::uint64_t end = last + 1;
    std::uint64_t iova = first;
    std::uint64_t host = plan.fit.inside.host.value;
    std::uint64_t offset = plan.offset.value;
    for (;;) {
      const std::uint64_t left = end - iova;
      const std::uint64_t to_border = Block - (offset & (Block - 1));
      const std::uint64_t piece = left < to_border ? left : to_border;
      if (const int answer = this->map_piece(plan, iova, host, piece); answer != 0) [[unlikely]] {
        return this->take_back(plan, iova, refusal("map", answer));
      }
      iova += piece;
      if (iova == end) break;
      host += piece;
      offset += piece;
    }
    return this->mapped(plan, first, last);
  }
};

}  // namespace codegen
