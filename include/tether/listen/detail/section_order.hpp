// SPDX-License-Identifier: BSL-1.0
// The order in which a listener finds sections: by first address, because those present at one time
// do not overlap. Whatever looks one up among many does so by this order, never one by one, so a
// change of N sections takes some N log N steps. A type, so that a test can count the steps.
#pragma once

#include <tether/core/address.hpp>
#include <tether/topology/section.hpp>

namespace tether::detail {

struct section_order {
  template <class Address>
  constexpr bool operator()(Address a, Address b) const noexcept {
    return a < b;
  }
};

/// The same for sections themselves, and to find one by its first address.
template <class Order>
struct by_place {
  using is_transparent = void;
  static constexpr guest_address place(section const& one) noexcept { return one.where.first; }
  static constexpr guest_address place(guest_address at) noexcept { return at; }
  template <class A, class B>
  constexpr bool operator()(A const& a, B const& b) const noexcept {
    return Order{}(place(a), place(b));
  }
};

}  // namespace tether::detail
