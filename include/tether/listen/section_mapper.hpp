// SPDX-License-Identifier: BSL-1.0
// Maps and unmaps one planned section: the code that each configuration instantiates for itself, and that is
// held against a hand-written loop instruction by instruction (test/codegen).
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/error.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/listen/attendant.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/section_plan.hpp>

#include <cstdint>
#include <system_error>

namespace tether {

/// How much a container has mapped now.
struct mapped_usage {
  std::uint64_t mappings = 0;
  std::uint64_t bytes = 0;

  friend constexpr bool operator==(mapped_usage, mapped_usage) noexcept = default;
};

/// The map and unmap path of one configuration. Not thread-safe; the listener locks around it.
template <class Backend, granularity Granularity, observation Observation>
  requires maps_memory<Backend> && has_limits<Backend>
class section_mapper {
 public:
  explicit section_mapper(Backend& backend) noexcept : backend_{&backend} {}

  /// The page sizes under which sections are cut. Frozen from the first mapping until nothing is mapped (law 13).
  [[nodiscard]] page_sizes sizes() const noexcept { return sizes_; }
  /// Reads the page sizes again, where that is still allowed.
  void refresh_sizes() noexcept {
    if (usage_.mappings == 0) sizes_ = backend_->page_sizes();
  }
  [[nodiscard]] mapped_usage usage() const noexcept { return usage_; }
  [[nodiscard]] Observation& observer() noexcept { return observer_; }

  /// Maps all pieces of a section, or none. Requires: `plan.pieces != 0`.
  /// Fails: what the backend says; `operation_canceled`. `error::stuck()` if what was mapped could not be unmapped.
  template <attendant Attendant>
  [[nodiscard]] result<void> map(section_plan const& plan, Attendant& who) noexcept {
    if constexpr (Backend::pins) {
      if (!allows(plan.fit.inside.rights, access::write) && is_private(plan.fit.inside.memory)) [[unlikely]] {
        if (auto present = populate(plan); !present) return present;
      }
    }
    // Member by member: a `mapping` that is copied whole goes through memory, in the midst of the loop.
    mapping const& all = plan.fit.inside;
    const extent<io_address> where = all.where;
    io_address at = where.first;
    host_address host = all.host;
    block_offset offset = plan.offset;
    for (;;) {
      const mapping rest{.where = {at, where.last}, .host = host, .rights = all.rights, .memory = all.memory};
      const std::uint64_t bytes = Granularity::first_piece(rest, offset, sizes_);
      const mapping piece{.where = {at, at + (bytes - 1)}, .host = host, .rights = all.rights, .memory = all.memory};
      if (!who.go_on(piece)) return put_back(plan, at, error{"map", std::make_error_code(std::errc::operation_canceled)});
      if constexpr (maps_files<Backend>) {
        if (auto done = map_from_file(plan, piece, offset); !done) [[unlikely]] return put_back(plan, at, done.error());
      } else {
        if (auto done = backend_->map(piece); !done) [[unlikely]] return put_back(plan, at, done.error());
      }
      detail::tell_mapped(observer_, piece);
      at = at + bytes;
      if (at == where.last + 1) break;  // both may have wrapped to 0
      host = host + bytes;
      offset = offset + bytes;
    }
    usage_.mappings += plan.pieces;
    usage_.bytes += where.size();
    return {};
  }

  /// Unmaps a section in one call, however many pieces it has. Requires: it is mapped as planned.
  [[nodiscard]] result<void> unmap(section_plan const& plan) noexcept {
    if (auto done = backend_->unmap(plan.fit.inside.where); !done) [[unlikely]] return failure(done.error().of(plan.what.name));
    detail::tell_unmapped(observer_, plan.fit.inside.where);
    usage_.mappings -= plan.pieces;
    usage_.bytes -= plan.fit.inside.where.size();
    return {};
  }

  /// Forgets what is mapped, after the backend has been abandoned.
  void forget() noexcept {
    usage_ = {};
    detail::tell_unmapped(observer_, extent<io_address>::everything());
  }

 private:
  /// By its file where it is shared and has one, else by address.
  result<void> map_from_file(section_plan const& plan, mapping const& piece, block_offset offset) noexcept {
    const file_source from = plan.what.memory->source_at(offset);
    if (piece.memory == memory_kind::shared && from.descriptor >= 0) return backend_->map(piece, from);
    return backend_->map(piece);
  }
  /// Law 15: a read-only pin of private memory that was never touched would pin the shared zero page.
  [[gnu::cold, gnu::noinline]] static result<void> populate(section_plan const& plan) noexcept {
    return plan.what.memory->populate(plan.fit.inside.where.moved_to(plan.offset));
  }
  /// Unmaps the pieces before `stopped_at`.
  [[gnu::cold, gnu::noinline]] result<void> put_back(section_plan const& plan, io_address stopped_at, error const& cause) noexcept {
    const error why = cause.of(plan.what.name);
    if (stopped_at == plan.fit.inside.where.first) return failure(why);
    const extent<io_address> done{plan.fit.inside.where.first, stopped_at - 1};
    if (!backend_->unmap(done)) return failure(why.leaving_things_behind());
    detail::tell_unmapped(observer_, done);
    return failure(why);
  }

  Backend* backend_;
  page_sizes sizes_{};
  mapped_usage usage_{};
  [[no_unique_address]] Observation observer_{};
};

}  // namespace tether
