// SPDX-License-Identifier: BSL-1.0
// Maps and unmaps one planned section: the code that each configuration instantiates, and that is
// compared with a hand-written loop instruction by instruction (test/codegen).
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/listen/detail/section_order.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/listen/mapped_usage.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/progress.hpp>
#include <tether/topology/memory_backing.hpp>

#include <cstdint>
#include <exception>
#include <map>
#include <system_error>

namespace tether::detail {

/// The map and unmap path of one configuration. Not thread-safe; the listener locks around it.
template <class Backend, granularity Granularity, observation Observation,
          class Order = section_order>
  requires maps_memory<Backend> && has_limits<Backend>
class section_mapper {
 public:
  explicit section_mapper(Backend& backend) noexcept : backend_{&backend} {}

  /// The page sizes under which sections are cut. Frozen from the first mapping until nothing is
  /// mapped (law 13).
  [[nodiscard]] page_sizes sizes() const noexcept { return sizes_; }
  /// Reads the page sizes again, unless something is mapped.
  void refresh_sizes() noexcept {
    if (usage_.mappings == 0) sizes_ = backend_->page_sizes();
  }
  [[nodiscard]] mapped_usage usage() const noexcept { return usage_; }
  [[nodiscard]] Observation& observer() noexcept { return observer_; }

  /// Maps all pieces of a section, or none. Requires: `plan.pieces != 0`.
  /// Fails: what the backend says; `operation_canceled`. `error::rollback_failed()` if the rollback
  /// failed.
  template <progress_monitor Monitor>
  [[nodiscard]] result<void> map(section_plan const& plan, Monitor& monitor) noexcept {
    if constexpr (Backend::pins) {
      if (may_pin_the_zero_page(plan)) [[unlikely]] {
        if (auto present = populate_first(read_only_, plan); !present) return present;
      }
    }
    // Member by member: a `mapping` that is copied whole goes through memory inside the loop.
    mapping const& all = plan.fit.inside;
    const extent<io_address> where = all.where;
    io_address at = where.first;
    host_address host = all.host;
    block_offset offset = plan.offset;
    for (;;) {
      const mapping rest{
          .where = {at, where.last}, .host = host, .rights = all.rights, .memory = all.memory};
      const std::uint64_t bytes = Granularity::first_piece(rest, offset, sizes_);
      const mapping piece{.where = {at, at + (bytes - 1)},
                          .host = host,
                          .rights = all.rights,
                          .memory = all.memory};
      if (!monitor.keep_going(piece))
        return roll_back(plan, at,
                         error{"map", std::make_error_code(std::errc::operation_canceled)});
      if constexpr (maps_files<Backend>) {
        if (auto done = map_from_file(plan, piece, offset); !done) [[unlikely]]
          return roll_back(plan, at, done.error());
      } else {
        if (auto done = backend_->map(piece); !done) [[unlikely]]
          return roll_back(plan, at, done.error());
      }
      notify_mapped(observer_, piece);
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
    if (auto done = backend_->unmap(plan.fit.inside.where); !done) [[unlikely]]
      return failure(done.error().of(plan.what.name));
    notify_unmapped(observer_, plan.fit.inside.where);
    if constexpr (Backend::pins) {
      if (may_pin_the_zero_page(plan)) [[unlikely]]
        drop_read_only(plan);
    }
    usage_.mappings -= plan.pieces;
    usage_.bytes -= plan.fit.inside.where.size();
    return {};
  }

  /// Populates again what is mapped read-only: it was present when mapped, and may have been
  /// discarded since.
  /// Fails: as `memory_backing::populate`, naming the section.
  [[nodiscard]] result<void> populate_read_only() noexcept {
    if (read_only_.empty()) [[likely]]
      return {};
    return populate_each();
  }

  /// Forgets what is mapped, after the backend has been abandoned.
  void reset() noexcept {
    usage_ = {};
    read_only_.clear();
    notify_unmapped(observer_, extent<io_address>::everything());
  }

 private:
  /// Maps by descriptor and offset if the memory is shared and has a file, else by HVA.
  result<void> map_from_file(section_plan const& plan, mapping const& piece,
                             block_offset offset) noexcept {
    const file_source from = plan.what.memory->source_at(offset);
    if (piece.memory == memory_kind::shared && from.descriptor >= 0)
      return backend_->map(piece, from);
    return backend_->map(piece);
  }
  /// Memory that is mapped read-only, by where it is mapped.
  struct read_only_part {
    memory_backing* memory;
    extent<block_offset> where;
  };
  using read_only_parts = std::map<io_address, read_only_part, Order>;

  /// Law 15: a read-only pin of absent private memory pins the shared zero page, and the CPU's next
  /// write goes to another page (copy-on-write).
  static bool may_pin_the_zero_page(section_plan const& plan) noexcept {
    return !allows(plan.fit.inside.rights, access::write) && is_private(plan.fit.inside.memory);
  }
  /// So it is populated: here, and by `populate_read_only` before anything else begins to pin.
  /// Static: with `this` g++ allocates the registers of the whole map path worse.
  [[gnu::cold, gnu::noinline]] static result<void> populate_first(
      read_only_parts& all, section_plan const& plan) noexcept {
    const extent<block_offset> where = plan.fit.inside.where.moved_to(plan.offset);
    TETHER_TRY {
      all.insert_or_assign(plan.fit.inside.where.first, read_only_part{plan.what.memory, where});
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("map").of(plan.what.name));
    }
    auto present = plan.what.memory->populate(where);
    if (!present) all.erase(plan.fit.inside.where.first);
    return present;
  }
  [[gnu::cold, gnu::noinline]] result<void> populate_each() noexcept {
    for (auto const& [mapped_at, one] : read_only_) {
      if (auto present = one.memory->populate(one.where); !present)
        return failure(present.error().of(one.memory->name()));
    }
    return {};
  }
  [[gnu::cold, gnu::noinline]] void drop_read_only(section_plan const& plan) noexcept {
    read_only_.erase(plan.fit.inside.where.first);
  }
  /// Rolls back: unmaps the pieces before `stopped_at`.
  [[gnu::cold, gnu::noinline]] result<void> roll_back(section_plan const& plan,
                                                      io_address stopped_at,
                                                      error const& cause) noexcept {
    const extent<block_offset> memory = plan.fit.inside.where.moved_to(plan.offset);
    const error why = plan.what.memory->why_gone(cause, memory).of(plan.what.name);
    if constexpr (Backend::pins) {
      if (may_pin_the_zero_page(plan)) drop_read_only(plan);
    }
    if (stopped_at == plan.fit.inside.where.first) return failure(why);
    const extent<io_address> done{plan.fit.inside.where.first, stopped_at - 1};
    if (!backend_->unmap(done)) return failure(why.with_failed_rollback());
    notify_unmapped(observer_, done);
    return failure(why);
  }

  Backend* backend_;
  page_sizes sizes_{};
  mapped_usage usage_{};
  read_only_parts read_only_{};
  [[no_unique_address]] Observation observer_{};
};

}  // namespace tether::detail
