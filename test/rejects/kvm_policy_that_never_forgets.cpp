// SPDX-License-Identifier: BSL-1.0
// expects: tether\[K1\]: a KVM policy needs
#include <tether/attach/container.hpp>
#include <tether/backend/vfio_type1.hpp>

#include <string_view>

// What KVM is told it must also be able to forget: it keeps the group busy.
struct talkative {
  using slot = tether::kvm_slot;
  static constexpr bool tells = true;
  tether::result<void> add(int, std::string_view) noexcept { return {}; }
#ifdef TETHER_CONTROL
  tether::result<void> remove(int, std::string_view) noexcept { return {}; }
#endif
};

using passthrough = tether::container<tether::vfio_type1, talkative>;
#include <rejects/program.hpp>
