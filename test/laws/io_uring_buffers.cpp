// SPDX-License-Identifier: BSL-1.0
// `io_uring_buffers` under the laws of a backend, with one slot for each mapping and with several.
#include <laws/backend.hpp>

#include <tether/backend/io_uring_buffers.hpp>

#include <doctest/doctest.h>

namespace laws_io_uring_buffers {

using namespace tether;

namespace {

struct io_uring_rig {
  using backend_type = io_uring_buffers;
  static result<backend_type> make(laws::limits const& small) {
    return io_uring_buffers::open({.slots = small.budget + 1,
                                   .bytes_per_slot = io_uring_largest_buffer,
                                   .usable = small.usable});
  }
};

}  // namespace

TEST_CASE("io_uring_buffers keeps the laws of a backend") { laws::check_backend<io_uring_rig>(); }

}  // namespace laws_io_uring_buffers
