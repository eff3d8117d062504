// SPDX-License-Identifier: BSL-1.0
// expects: (use of deleted function|call to deleted member function)
#include <tether/topology/address_space.hpp>

// A section lives as long as the view that it came from.
bool is_ram(tether::address_space const& guest, tether::guest_address at);
bool is_ram(tether::address_space const& guest, tether::guest_address at) {
#ifdef TETHER_CONTROL
  const auto view = guest.view();
  tether::section const* const found = view.find(at);
#else
  tether::section const* const found = guest.view().find(at);
#endif
  return found != nullptr && found->kind == tether::region_kind::ram;
}
