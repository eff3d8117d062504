// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B8\]: this backend has a 'map\(mapping const&, file_source\)', a 'pins_now\(\)' or a 'locate\(endpoint const&\)' that would never be asked
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

// It would never be asked, and private copies be pinned in place of the file.
struct maps_files_somehow : tether::io_uring_buffers {
  using tether::io_uring_buffers::map;
#ifdef TETHER_CONTROL
  tether::result<void> map(tether::mapping const&, tether::file_source) noexcept { return {}; }
#else
  tether::result<void> map(tether::mapping const&, tether::file_source) { return {}; }
#endif
};

using passthrough = tether::container<maps_files_somehow>;
#include <rejects/program.hpp>
