// SPDX-License-Identifier: BSL-1.0
// Needed where a `std::stop_token` is passed to `discard_gate::hold` or to an attach. The gate does
// not include it: <stop_token> is expensive to compile, and most programs pass none.
#pragma once

#include <tether/version.hpp>

#include <stop_token>

namespace tether::detail {

template <class StopToken>
struct stop_callbacks;

/// How a thread that waits is woken by a stop request: a callback registered with the token.
template <>
struct stop_callbacks<std::stop_token> {
  template <class Function>
  using type = std::stop_callback<Function>;
};

}  // namespace tether::detail
