// SPDX-License-Identifier: BSL-1.0
// The opt-in umbrella alone is enough for a container that keeps a journal.
#include <tether/testing.hpp>

#include <tether/backend/software_iommu.hpp>

static_assert(tether::backend<tether::recording<tether::software_iommu>>);
static_assert(sizeof(tether::journal) != 0);
