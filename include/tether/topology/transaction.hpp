// SPDX-License-Identifier: BSL-1.0
// Edits to the guest's memory map that become visible together, or not at all. Transactions of one
// thread nest; only the outermost commits. One that is destroyed uncommitted is rolled back.
//
//     auto change = guest.begin();
//     change.remove(old);
//     change.place(region::ram(block), guest_address{1 * GiB});
//     if (auto done = change.commit(); !done) ...   // everything is as before
#pragma once

#include <tether/topology/detail/commit_pipeline.hpp>
#include <tether/topology/detail/region_table.hpp>
#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/memory_listener.hpp>
#include <tether/topology/region.hpp>

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/stop.hpp>

#include <cstddef>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

namespace tether {

/// An open transaction. Belongs to the thread that began it; those of others wait for its end.
/// A failed edit changes nothing, and the transaction goes on without it.
class [[nodiscard]] transaction {
 public:
  transaction(transaction const&) = delete;
  transaction& operator=(transaction const&) = delete;
  /// Rolls the edits back unless committed.
  ~transaction() {
    if (!open_) return;
    if (writer_->depth() != depth_)
      stop(
          "tether[M2]: a transaction was destroyed before one that began inside it: end those that "
          "began last first");
    writer_->regions().roll_back_to(mark_);
    writer_->made_compulsory(was_compulsory_);
    writer_->unlock();
  }

  /// Places a region. The highest priority is visible, among equals the one placed last.
  /// Fails: `invalid_extent` for no bytes or past 2^64; `past_the_end` of its memory;
  /// `stale_handle` if its block is gone; `access_denied` for RAM whose descriptor is open for
  /// reading only; `other_gate` if another address space's gate guards it; `overlaps` where that is
  /// asked for (`region::exclusive`); not enough memory.
  [[nodiscard]] result<region_id> place(region const& what, guest_address at,
                                        int priority = 0) noexcept {
    constexpr auto operation = "place";
    if (auto may = may_edit(operation); !may) return failure(may.error());
    const auto name = what.name().view();
    const auto where = extent<guest_address>::of(at, what.size());
    // keeps it from being freed before the placed region refers to it
    const auto memory = what.reference();
    if (what.needs_memory()) {
      if (memory.get() == nullptr)
        return failure(error{operation, errc::stale_handle}.of(name).advise(block_gone));
      if (where && !what.fits_its_block())
        return failure(error{operation, errc::past_the_end}.at(*where).of(name).advise(
            "it has {} byte{|s}", what.block_size()));
      if (!what.suits_its_block())
        return failure(error{operation, errc::access_denied}.of(name).advise(only_read));
    }
    if (!where) return failure(error{operation, errc::invalid_extent}.of(name));
    if (auto alone = stays_alone(operation, *where, name, memory.get() != nullptr,
                                 what.is_exclusive(), nullptr);
        !alone)
      return failure(alone.error());
    if (auto alone = hides_no_ram(operation, *where, name, what.kind(), nullptr); !alone)
      return failure(alone.error());
    TETHER_TRY {
      auto owner = std::make_shared<detail::section_owner const>(what.name(), memory.get());
      if (writer_->gate() != gate_id::none && !owner->guard(writer_->gate())) {
        return failure(
            error{operation, errc::other_gate}.at(*where).of(name).advise(detail::one_gate));
      }
      return writer_->regions().place(what, std::move(owner), *where, priority);
    }
    TETHER_CATCH(...) { return failure(out_of_memory(operation).at(*where).of(name)); }
  }

  /// Fails, like the edits below: `stale_handle` if there is no such region; not enough memory.
  [[nodiscard]] result<void> remove(region_id id) noexcept {
    return edit("remove", id, [&](placed_region const&) { writer_->regions().remove(id); });
  }

  /// Fails: `invalid_extent` past 2^64, `overlaps` as `place`.
  [[nodiscard]] result<void> move(region_id id, guest_address to) noexcept {
    if (auto* const region = open_ ? writer_->regions().find(id) : nullptr; region != nullptr) {
      if (to.value > ~(region->where.last - region->where.first))
        return failure(
            error{"move", errc::invalid_extent}.at(region->where).of(region->owner->name().view()));
      if (region->enabled) {
        if (auto alone = stays_alone("move", *region, region->where.moved_to(to)); !alone)
          return alone;
      }
    }
    return edit("move", id, [&](placed_region const& region) {
      writer_->regions().move(id, region.where.moved_to(to));
    });
  }

  /// Makes it read-only or writable, for devices and guest: listeners see a removal and an
  /// addition. Fails also: `access_denied` if it would become RAM, but its descriptor is open for
  /// reading only.
  [[nodiscard]] result<void> set_read_only(region_id id, bool on) noexcept {
    if (auto* const region = open_ ? writer_->regions().find(id) : nullptr; region != nullptr) {
      if (!on && !region->block_is_writable && region->kind != region_kind::rom)
        return failure(error{"set read-only", errc::access_denied}
                           .at(region->where)
                           .of(region->owner->name().view())
                           .advise(only_read));
    }
    return flip("set read-only", id, &placed_region::read_only, on);
  }
  /// A disabled region shows nothing, but keeps its place. Fails also: `overlaps` as `place`.
  [[nodiscard]] result<void> set_enabled(region_id id, bool on) noexcept {
    if (auto* const region = open_ && on ? writer_->regions().find(id) : nullptr;
        region != nullptr) {
      if (auto alone = stays_alone("set enabled", *region, region->where); !alone) return alone;
    }
    return flip("set enabled", id, &placed_region::enabled, on);
  }
  /// Whether writes are logged. No listener is called, because no mapping changes.
  [[nodiscard]] result<void> set_dirty_log(region_id id, bool on) noexcept {
    return flip("set the dirty log", id, &placed_region::dirty_log, on);
  }

  /// Ends the transaction. Inside another one it only hands the edits to that one (and makes it
  /// compulsory if this one is). The outermost computes the new view, delivers the change to the
  /// listeners and publishes, in this order, so a listener that looks sees the old view. If the
  /// view does not change, no listener is called.
  /// Fails: a refusable one with the first listener's error, and everything is rolled back:
  /// in-flight DMA to the extents concerned may have faulted meanwhile; `error::rollback_failed()`
  /// if a listener's roll-back failed. Either kind with not enough memory, before any listener was
  /// called: then nothing is published.
  [[nodiscard]] result<commit_report> commit() noexcept {
    if (auto may = may_edit("commit"); !may) return failure(may.error());
    open_ = false;
    if (depth_ > 1) {
      if (kind_ == commit_kind::compulsory) writer_->made_compulsory(true);
      writer_->unlock();
      return commit_report{};
    }
    auto done = writer_->commit(kind_);
    writer_->unlock();
    return done;
  }

 private:
  friend class address_space;
  using placed_region = detail::placed_region;

  transaction(detail::commit_pipeline& writer, commit_kind kind) noexcept
      : writer_{&writer},
        depth_{writer.lock()},
        mark_{writer.regions().mark()},
        kind_{kind},
        was_compulsory_{writer.made_compulsory()} {}

  static constexpr const char* block_gone =
      "its RAM block was freed or moved from: use the block that it was moved to";
  static constexpr const char* only_read =
      "its descriptor is open for reading only: place it as ROM or read-only, or open it for "
      "reading "
      "and writing";
  static error out_of_memory(const char* operation) noexcept {
    return error::out_of_memory(operation);
  }

  [[nodiscard]] result<void> may_edit(const char* operation) const noexcept {
    if (!open_)
      return failure(error{operation, errc::stale_handle}.advise("the transaction was committed"));
    if (writer_->depth() != depth_)
      return failure(error{operation, errc::still_in_use}.advise(
          "finish the transaction inside this one first"));
    return {};
  }

  /// Fails: `overlaps` if memory would lie over other memory, and one of the two is exclusive.
  [[nodiscard]] result<void> stays_alone(const char* operation, extent<guest_address> where,
                                         std::string_view name, bool has_memory, bool exclusive,
                                         placed_region const* self) const noexcept {
    auto const* const other =
        has_memory ? writer_->regions().in_the_way(where, exclusive, self) : nullptr;
    if (other == nullptr) return {};
    const auto both = where.intersection(other->where).value_or(where);
    return failure(
        error{operation, errc::overlaps}
            .at(both)
            .of(name)
            .blocked_by(other->owner->name().view())
            .advise("one of the two asked to lie alone (region::exclusive)"));
  }
  [[nodiscard]] result<void> stays_alone(const char* operation, placed_region const& self,
                                         extent<guest_address> to) const noexcept {
    const auto name = self.owner->name().view();
    if (auto alone = stays_alone(operation, to, name, self.has_memory(), self.exclusive, &self);
        !alone)
      return alone;
    return hides_no_ram(operation, to, name, self.kind, &self);
  }
  /// Fails: `overlaps` if RAM would lie over other RAM, where the address space refuses that.
  [[nodiscard]] result<void> hides_no_ram(const char* operation, extent<guest_address> where,
                                          std::string_view name, region_kind kind,
                                          placed_region const* self) const noexcept {
    if (!writer_->refuses_overlaps || kind != region_kind::ram) return {};
    placed_region const* other = nullptr;
    writer_->regions().for_each_in(where, [&](placed_region const& one) {
      if (&one != self && one.kind == region_kind::ram) other = &one;
    });
    if (other == nullptr) return {};
    const auto both = where.intersection(other->where).value_or(where);
    return failure(error{operation, errc::overlaps}
                       .at(both)
                       .of(name)
                       .blocked_by(other->owner->name().view())
                       .advise("this address space refuses RAM over RAM: remove or disable what "
                               "is there first"));
  }
  template <class Change>
  [[nodiscard]] result<void> edit(const char* operation, region_id id, Change change) noexcept {
    if (auto may = may_edit(operation); !may) return may;
    auto* const region = writer_->regions().find(id);
    if (region == nullptr) return failure(error{operation, errc::stale_handle});
    TETHER_TRY { change(*region); }
    TETHER_CATCH(...) { return failure(out_of_memory(operation).at(region->where)); }
    return {};
  }

  [[nodiscard]] result<void> flip(const char* operation, region_id id, bool placed_region::* flag,
                                  bool on) noexcept {
    return edit(operation, id,
                [&](placed_region const&) { writer_->regions().set_flag(id, flag, on); });
  }

  detail::commit_pipeline* writer_;
  unsigned depth_;
  std::size_t mark_;
  commit_kind kind_;
  bool was_compulsory_;
  bool open_ = true;
};

}  // namespace tether
