// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O4\]: this observer is told nothing, or has a function that is not
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// It could only be a mistake: who wants none has no_observation.
struct deaf {
  using slot = tether::observation_slot;
#ifdef TETHER_CONTROL
  void trimmed(tether::section const&, std::uint64_t) noexcept {}
#else
  void cut_off(tether::section const&, std::uint64_t) noexcept {}
#endif
};

using passthrough = tether::container<tether::software_iommu, deaf>;
#include <rejects/program.hpp>
