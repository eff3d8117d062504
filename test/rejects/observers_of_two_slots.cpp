// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O3\]: this observer has a function that would never be told: .*so are those of each of
#include <tether/attach/container.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/listen/observers.hpp>

struct counts {
  using slot = tether::observation_slot;
  void mapped(tether::mapping const&) noexcept {}
};
struct traces {
#ifdef TETHER_CONTROL
  using slot = tether::observation_slot;
  void mapped(tether::mapping const&) noexcept {}
#else
  using slot = tether::tracing_slot;
#endif
  void traced(tether::trace_event const&) noexcept {}
};

using passthrough = tether::container<tether::software_iommu, tether::observers<counts, traces>>;
#include <rejects/program.hpp>
