// SPDX-License-Identifier: BSL-1.0
// Places a region in a table by itself, as a transaction does in an address space that no gate
// guards yet.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>
#include <tether/topology/detail/region_table.hpp>
#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/region.hpp>

#include <memory>

namespace tether_test {

inline tether::region_id placed(tether::detail::region_table& table, tether::region const& what,
                                tether::extent<tether::guest_address> where, int priority) {
  return table.place(
      what, std::make_shared<tether::detail::section_owner const>(what.name(), what.memory()),
      where, priority);
}

}  // namespace tether_test
