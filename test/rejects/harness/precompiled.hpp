// SPDX-License-Identifier: BSL-1.0
// What most files of this folder include, precompiled. It has no include guard of its own: it is
// included once, by the command line.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/proof/proven_safe.hpp>

#include <cstdio>
#include <utility>
