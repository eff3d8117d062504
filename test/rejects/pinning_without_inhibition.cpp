// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I1\]: this backend pins memory
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

// A block granularity does not help: law 3 refuses it whatever the granularity.
#include <tether/granule/fixed_block.hpp>

#ifdef TETHER_CONTROL
using inhibition = tether::inhibit_per_group;
#else
using inhibition = tether::no_inhibition;
#endif

using passthrough =
    tether::container<tether::io_uring_buffers, tether::fixed_block<64 * tether::KiB>, inhibition>;
#include <rejects/program.hpp>
