// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B12\]: this backend cannot be made without arguments: open it first, and give the container the value of its 'open\(...\)', or of 'open_backend<Backend>\(\)'
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/open_backend.hpp>

bool attach_to(tether::address_space& guest, tether::discard_gate<>& gate);
bool attach_to(tether::address_space& guest, tether::discard_gate<>& gate) {
#ifdef TETHER_CONTROL
  auto ring = tether::open_backend<tether::io_uring_buffers>();
  if (!ring) return false;
  tether::container<tether::io_uring_buffers> dma{guest, gate, std::move(*ring), "disk"};
#else
  tether::container<tether::io_uring_buffers> dma{guest, gate, "disk"};
#endif
  return dma.attach(tether::endpoint{"engine"}).has_value();
}
