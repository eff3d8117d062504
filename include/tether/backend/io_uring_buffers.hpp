// SPDX-License-Identifier: BSL-1.0
// A container whose mappings are io_uring's fixed buffers. The kernel pins them exactly as VFIO
// does (FOLL_LONGTERM) and needs neither hardware nor privileges, so what tether prevents can be
// shown and tested anywhere. It behaves as type1 does: with no pinning group joined `map` only
// records, the first one to join pins all that is recorded, and when the last one has left
// everything is unpinned and still recorded.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/detail/iova_table.hpp>
#include <tether/backend/detail/mapping_checks.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/emulated/endpoint_registry.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/backend/io_uring/device.hpp>
#include <tether/backend/io_uring/pins.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/fwd.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>

namespace tether {

/// The backend: one container. Movable; its devices and joined groups stay valid when it is moved.
/// Ensures: when `unmap` returns, the pins are gone (law 5: the completion with each slot's tag has
/// arrived).
/// In a child of a fork it is the parent's still: there it maps and opens nothing (`stale_handle`),
/// and unmapping, leaving, abandoning and destroying succeed without touching what is the parent's.
/// A wait that gets no answer for `io_uring_options::longest_wait` fails with ETIME, stuck.
/// Cost: one system call for each 1 GiB of a mapping. Linux 6.1 may take a second to send the tags
/// of 63 slots. A pin or an open that is refused for memory is repeated for two seconds after a
/// close at most, because the kernel returns a closed ring's share of the limit late.
template <class Kernel>
class basic_io_uring_buffers {
 public:
  static constexpr bool pins = true;
  static constexpr attach_unit unit = attach_unit::group;
  using group_type = endpoint_group;
  using joined_group = detail::joined_endpoint_group;
  using device_type = basic_io_uring_device<Kernel>;
  using kernel_type = Kernel;

  /// Fails: EPERM or ENOSYS where the kernel or a sandbox forbids io_uring, `unsupported` before
  /// Linux 5.19, ENOMEM.
  [[nodiscard]] static result<basic_io_uring_buffers> open(io_uring_options options = {}) noexcept {
    TETHER_TRY {
      auto state = std::make_unique<detail::io_uring_pins<Kernel>>(std::move(options));
      if (auto opened = state->open(); !opened) return failure(opened.error());
      return basic_io_uring_buffers{std::move(state)};
    }
    TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("open io_uring")); }
  }

  /// Ensures: pinned when it returns, if a pinning group has joined. Fails, changing nothing:
  /// `invalid_extent`, `not_aligned`, `access_denied` (no right at all), `overlaps`, `over_budget`,
  /// `outside_aperture`, ENOMEM past the locked-memory limit; `memory_gone`, `access_denied` where
  /// it is not writable, `wrong_kind` for a file on a disk.
  [[nodiscard]] result<void> map(mapping const& what) noexcept {
    if (auto shaped = detail::check_shape(what, Kernel::page_size()); !shaped) return shaped;
    const auto lock = state_->lock();
    if (state_->is_inherited()) return failure(detail::inherited("map"));
    if (state_->table.touches(what.where))
      return failure(error{"map", errc::overlaps}.at(what.where));
    const std::uint64_t slots = state_->slots_for(what.where);
    if (slots > state_->slots.free()) {
      return failure(error{"map", errc::over_budget}
                         .at(what.where)
                         .advise("only {} slot{|s} {is|are} free", state_->slots.free()));
    }
    if (auto inside = detail::check_aperture(what.where, state_->options.usable); !inside)
      return inside;
    const detail::slot_chain chain = state_->slots.allocate(static_cast<std::uint32_t>(slots));
    const auto row = state_->table.insert(what, chain);
    if (!row) {
      state_->slots.free(chain);
      return failure(row.error());
    }
    if (state_->groups.pinning() == 0) return {};
    const detail::table_run run = state_->table.only(*row);
    auto pinned = state_->pin("map", run);
    // If the rollback failed, it stays recorded: a later unmap tries again to unpin its pages.
    if (!pinned && !pinned.error().rollback_failed()) state_->erase_rows(run);
    return pinned;
  }
  /// Requires: `where` is exactly one or more whole mappings without a gap. Ensures: unpinned when
  /// it returns. Fails, removing nothing: `invalid_extent`, `cuts_a_mapping`, `not_mapped`, the
  /// kernel's errno (then perhaps stuck: still recorded, try again).
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    const auto lock = state_->lock();
    if (state_->is_inherited()) return {};
    const auto run = state_->table.whole(where);
    if (!run) return failure(run.error());
    auto unpinned = state_->unpin("unmap", *run);
    if (unpinned) state_->erase_rows(*run);
    return unpinned;
  }

  /// The host's page sizes: a fixed buffer is any run of host pages, so all of them fit.
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept {
    return sizes_of_page_tables(Kernel::page_size());
  }
  [[nodiscard]] std::span<extent<io_address> const> usable_iova() const noexcept {
    return state_->options.usable;
  }
  /// Free slots. A mapping takes one for each 1 GiB, rounded up.
  [[nodiscard]] std::uint64_t free_mappings() const noexcept {
    const auto lock = state_->lock();
    return state_->slots.free();
  }
  /// Whether a group that pins for good has joined.
  [[nodiscard]] bool pins_now() const noexcept {
    const auto lock = state_->lock();
    return state_->groups.pinning() != 0;
  }
  /// The locked memory that a mapping counts as, at most: of a huge page that it has a part of, the
  /// whole page. Units: bytes.
  [[nodiscard]] static std::uint64_t charged_bytes(mapping const& what) noexcept {
    return detail::io_uring_pins<Kernel>::charged_bytes(what);
  }
  /// What the kernel pins for this container now. Units: bytes. VmPin in /proc/self/status shows
  /// the same, or more where huge pages are pinned in part.
  [[nodiscard]] std::uint64_t pinned_bytes() const noexcept {
    const auto lock = state_->lock();
    return state_->pinned_bytes();
  }

  /// A group of its own for a device of any name. Fails: `no_such_device` without a name.
  [[nodiscard]] result<device_in_group<group_type>> locate(endpoint const& device) const noexcept {
    return detail::locate_alone(device);
  }
  /// A pin point: the first pinning group pins all that is recorded. Fails, leaving nothing behind:
  /// `already_there`, and as `map`.
  [[nodiscard]] result<joined_group> join(group_type const& group) noexcept {
    const auto lock = state_->lock();
    if (state_->is_inherited()) return failure(detail::inherited("join"));
    const bool was_pinning = state_->groups.pinning() != 0;
    auto joined = state_->groups.join(group);
    if (!joined || was_pinning || state_->groups.pinning() == 0) return joined;
    if (const auto pinned = state_->pin("join", everything()); !pinned) {
      state_->groups.leave(*joined);
      return failure(pinned.error().of(group.name()));
    }
    return joined;
  }
  /// Ensures: nothing is unmapped; when the last pinning group has left, nothing is pinned.
  /// Fails, still joined: `still_in_use` while a device of it is open, `stale_handle`, the kernel's
  /// errno.
  [[nodiscard]] result<void> leave(joined_group& joined) noexcept {
    const auto lock = state_->lock();
    if (state_->is_inherited()) {
      joined = {};
      return {};
    }
    if (auto may = state_->groups.may_leave(joined); !may) return may;
    if (detail::endpoint_registry::pins(joined) == pin_class::pins &&
        state_->groups.pinning() == 1) {
      if (const auto unpinned = state_->unpin("leave", everything()); !unpinned)
        return failure(unpinned.error().of(joined.name()));
    }
    state_->groups.leave(joined);
    return {};
  }

  /// Fails: `no_such_device`, `stale_handle`.
  [[nodiscard]] result<pin_class> classify(joined_group const& joined,
                                           std::string_view name) const noexcept {
    return detail::endpoint_registry::classify(joined, name);
  }
  /// Fails: `no_such_device`, `stale_handle`.
  [[nodiscard]] result<device_type> open(joined_group& joined, std::string_view name) noexcept {
    const auto lock = state_->lock();
    if (state_->is_inherited()) return failure(detail::inherited("open"));
    const auto opened = detail::endpoint_registry::open(joined, name);
    if (!opened) return failure(opened.error());
    return device_type{*state_, *opened};
  }
  /// Ensures: no DMA of the device runs or can start. Fails: `stale_handle` if it is closed
  /// already.
  [[nodiscard]] result<void> close(device_type& device) noexcept {
    const auto lock = state_->lock();
    if (!device.opened_) return failure(error{"close", errc::stale_handle});
    detail::endpoint_registry::close(device.opened_);
    return {};
  }

  /// Ensures: no request is in flight, and what a mediated endpoint's request pinned is unpinned.
  /// Fails: the kernel's errno.
  [[nodiscard]] result<void> quiesce() noexcept {
    const auto nothing_in_flight = state_->lock();
    if (state_->is_inherited()) return {};
    if (const auto waited = state_->wait_for_requests(); waited < 0)
      return failure(state_->failed("quiesce", waited));
    return {};
  }
  /// Ensures: nothing is mapped, joined or pinned, and the kernel has confirmed it. Fails:
  /// `still_in_use` while a device is open; the kernel's errno, and then it may be called again.
  [[nodiscard]] result<void> abandon() noexcept {
    const auto lock = state_->lock();
    if (state_->is_inherited()) return {};
    if (auto may = state_->groups.may_abandon(); !may) return may;
    if (const auto waited = state_->wait_for_requests(); waited < 0) {
      return failure(state_->failed("abandon", waited).with_failed_rollback());
    }
    if (auto unpinned = state_->unpin("abandon", everything()); !unpinned)
      return failure(unpinned.error().with_failed_rollback());
    state_->erase_rows(everything());
    state_->groups.abandon();
    return {};
  }

  /// It was moved from: it may be assigned or destroyed, and nothing else.
  [[nodiscard]] bool is_moved_from() const noexcept { return state_ == nullptr; }

 private:
  explicit basic_io_uring_buffers(std::unique_ptr<detail::io_uring_pins<Kernel>> state) noexcept
      : state_{std::move(state)} {}

  [[nodiscard]] detail::table_run everything() const noexcept { return state_->table.all(); }

  std::unique_ptr<detail::io_uring_pins<Kernel>> state_;
};

/// The backend, on Linux itself.
using io_uring_buffers = basic_io_uring_buffers<>;

static_assert(backend<io_uring_buffers> && dma_engine<io_uring_device>);

}  // namespace tether
