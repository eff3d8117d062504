// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O2\]: an observer needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

struct log {
  using slot = tether::observation_slot;
#ifdef TETHER_CONTROL
  log() = default;
#endif
  explicit log(int) {}
  void diverged(tether::error const&) noexcept {}
};

using passthrough = tether::container<tether::software_iommu, log>;
#include <rejects/program.hpp>
