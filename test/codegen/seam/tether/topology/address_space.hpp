// SPDX-License-Identifier: BSL-1.0
// Stands before the real header when attach and detach are looked at: telling a listener of the
// guest's memory is one opaque call here, as the ioctls are, so that what remains is the
// container's own code.
#pragma once

#include <codegen/fake_iommu.hpp>

#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/topology/memory_listener.hpp>

// Not system calls, but as opaque: 0 or an errno.
extern "C" int codegen_follow(void* listener, void* replay) noexcept;
extern "C" int codegen_forsake(void* listener) noexcept;

namespace tether {

class address_space {
 public:
  /// What `guarded_space` asks of it.
  struct {
    [[nodiscard]] result<void> guard(gate_id) const noexcept { return {}; }
    void unguard() const noexcept {}
  } writer_;

  template <memory_listener L>
  [[nodiscard]] result<void> add_listener(L& listener, int = 0) noexcept {
    return codegen::as_result("replay", codegen_follow(&listener, &listener));
  }
  template <memory_listener L, memory_listener Replay>
  [[nodiscard]] result<void> add_listener(L& listener, int, Replay& replay) noexcept {
    return codegen::as_result("replay", codegen_follow(&listener, &replay));
  }
  template <memory_listener L>
  [[nodiscard]] result<void> remove_listener(L& listener) noexcept {
    return codegen::as_result("withdraw", codegen_forsake(&listener));
  }
};

}  // namespace tether
