// SPDX-License-Identifier: BSL-1.0
// The umbrella is enough to ask for a proof.
#include <tether/proof.hpp>

namespace {

struct never {
  using slot = tether::inhibition_slot;
  static constexpr bool never_inhibits = true;
};
static_assert(!tether::proven_safe<tether::proof::abstraction<never, tether::standard_lifecycle>>);
static_assert(
    tether::proven_safe<tether::proof::abstraction<never, tether::standard_lifecycle, false>>);

}  // namespace
