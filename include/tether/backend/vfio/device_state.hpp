// SPDX-License-Identifier: BSL-1.0
// What an open VFIO device consists of, apart from its handle: its descriptor, its attachment, its
// place in a container's ring. The handle and the mapped BARs (views) share it by a reference
// count:
//
//     handle ----+----> state: descriptor, name, ...      destroyed with the handle, or with the
//     BAR view --+                                        last view if the handle ended before it
//
// Where a container was destroyed before the views, what it left has the handle, and is told by the
// last view.
#pragma once

#include <tether/backend/detail/intrusive_ring.hpp>
#include <tether/backend/vfio/iommufd_attachment.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/kernel_handles.hpp>

#include <atomic>
#include <string>

namespace tether::detail {

/// A reference count: how many BARs of a device are mapped, and whether its handle has ended; then
/// the last view destroys the device. Views begin and end on any thread, and the handle may end on
/// another; exactly one of them learns that it is the last.
class view_count {
 public:
  [[nodiscard]] unsigned count() const noexcept {
    return state_.load(std::memory_order_acquire) / one_view;
  }
  void add() noexcept { state_.fetch_add(one_view, std::memory_order_relaxed); }
  /// Drops a view. True: the caller must destroy the device, which counts as in use until then.
  [[nodiscard]] bool drop_view() noexcept {
    unsigned seen = state_.load(std::memory_order_acquire);
    while (seen != (one_view | orphaned)) {
      if (state_.compare_exchange_weak(seen, seen - one_view, std::memory_order_acq_rel,
                                       std::memory_order_acquire))
        return false;
    }
    return true;
  }
  /// Drops the handle. True: views are left, which own the device from now on.
  [[nodiscard]] bool drop_handle() noexcept {
    return state_.fetch_or(orphaned, std::memory_order_acq_rel) >= one_view;
  }
  /// The handle is there again. Requires: it was dropped, and no other view than the caller's is
  /// left.
  void take_back_handle() noexcept { state_.store(0, std::memory_order_release); }

 private:
  static constexpr unsigned orphaned = 1;
  static constexpr unsigned one_view = 2;
  std::atomic<unsigned> state_{0};
};

/// An open device. `attachment` and `joined` are used by containers of single devices only.
template <class Kernel>
struct vfio_device_state {
  std::string name{};
  iommufd_attachment attachment{};
  view_count views{};
  /// In the ring of the container that it has joined. Declared before `descriptor`, so it leaves
  /// the ring only after that is closed, as in the kernel: until then the container finds it there.
  ring_link<vfio_device_state> joined{*this};
  kernel_descriptor<Kernel> descriptor{};
  /// Who has the handle although it was dropped, or null. Written before it is dropped.
  unused_notice* waiting = nullptr;

  /// Whether views are left: then `who` is told by the last one, and has the handle from then on.
  [[nodiscard]] bool tell_when_unused(unused_notice& who) noexcept {
    waiting = &who;
    if (views.drop_handle()) return true;
    views.take_back_handle();
    return false;
  }
  /// Ends a view. The last one destroys this, or tells who has the handle.
  void end_view() noexcept {
    if (!views.drop_view()) return;
    if (waiting == nullptr) {
      delete this;
      return;
    }
    views.take_back_handle();
    waiting->told(*waiting);
  }
};

}  // namespace tether::detail
