// SPDX-License-Identifier: BSL-1.0
// The demo's stories over this backend, compiled.
#include "walk_over.hpp"

#include <tether/backend/io_uring_buffers.hpp>

template void demo::tell_every_configuration<tether::io_uring_buffers>(walk&);
template void demo::tell_the_smallest_blocks<tether::io_uring_buffers>(walk&);
