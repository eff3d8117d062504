// SPDX-License-Identifier: BSL-1.0
// expects: tether\[L2\]: these plans attach groups where the backend attaches devices
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

// Well formed, but for a backend whose devices are attached one by one.
#ifdef TETHER_CONTROL
constexpr auto unit = tether::attach_unit::group;
#else
constexpr auto unit = tether::attach_unit::device;
#endif

constexpr auto holds = tether::configuration<tether::software_iommu, tether::lifecycle_of<unit>>::holds;
