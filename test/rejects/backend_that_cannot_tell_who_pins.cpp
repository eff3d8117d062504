// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B8\]: this backend has a 'map\(mapping const&, file_source\)', a 'pins_now\(\)' or a 'locate\(endpoint const&\)' that would never be asked
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

// It would never be asked, and an audit take everything for pinned.
struct forgets_const : tether::io_uring_buffers {
#ifdef TETHER_CONTROL
  bool pins_now() const noexcept { return true; }
#else
  bool pins_now() noexcept { return true; }
#endif
};

using passthrough = tether::container<forgets_const>;
#include <rejects/program.hpp>
