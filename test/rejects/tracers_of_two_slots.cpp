// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O7\]: a tracer needs .* and so does each of
#include <tether/attach/container.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/listen/observers.hpp>

struct traces {
  using slot = tether::tracing_slot;
  void traced(tether::trace_event const&) noexcept {}
};
struct counts {
#ifdef TETHER_CONTROL
  using slot = tether::tracing_slot;
  void traced(tether::trace_event const&) noexcept {}
#else
  using slot = tether::observation_slot;
  void mapped(tether::mapping const&) noexcept {}
#endif
};

using passthrough = tether::container<tether::software_iommu, tether::observers<traces, counts>>;
#include <rejects/program.hpp>
