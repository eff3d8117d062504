// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O5\]: the observer beside tether::audited has a function that would never be told
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/listen/audited.hpp>

#include <cstdint>

// Told in the midst of a rollback, where nothing may be thrown.
struct may_throw {
  using slot = tether::observation_slot;
  std::uint64_t bytes = 0;
#ifdef TETHER_CONTROL
  void trimmed(tether::section const&, std::uint64_t cut) noexcept { bytes += cut; }
#else
  void trimmed(tether::section const&, std::uint64_t cut) { bytes += cut; }
#endif
};

using passthrough = tether::container<tether::software_iommu, tether::audited_beside<may_throw>>;
#include <rejects/program.hpp>
