// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B8\]: this backend has a 'map\(mapping const&, file_source\)' or a 'pins_now\(\)' that would never be asked
#include <tether/attach/configuration.hpp>
#include <tether/backend/io_uring_buffers.hpp>

// It would never be asked, and an audit take everything for pinned.
struct forgets_const : tether::io_uring_buffers {
#ifdef TETHER_CONTROL
  bool pins_now() const noexcept { return true; }
#else
  bool pins_now() noexcept { return true; }
#endif
};

constexpr auto holds = tether::configuration<forgets_const>::holds;
