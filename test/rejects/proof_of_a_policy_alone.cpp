// SPDX-License-Identifier: BSL-1.0
// expects: tether\[V2\]: proven_safe takes a container
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/proof/proven_safe.hpp>

// A policy is safe or not by the plans that it runs with.
#ifdef TETHER_CONTROL
using subject = tether::container<tether::io_uring_buffers, tether::inhibit_per_group>;
#else
using subject = tether::inhibit_per_group;
#endif
static_assert(tether::proven_safe<subject>);
