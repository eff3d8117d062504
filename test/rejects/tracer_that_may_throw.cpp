// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O7\]: a tracer needs a default constructor and 'traced\(trace_event const&\) noexcept'
#include <tether/attach/container.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/backend/software_iommu.hpp>

struct careless {
  using slot = tether::tracing_slot;
#ifdef TETHER_CONTROL
  void traced(tether::trace_event const&) noexcept {}
#else
  void traced(tether::trace_event const&) {}
#endif
};

using passthrough = tether::container<tether::software_iommu, careless>;
#include <rejects/program.hpp>
