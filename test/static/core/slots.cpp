// SPDX-License-Identifier: BSL-1.0
#include <tether/core/slots.hpp>

using namespace tether;

namespace {

struct by_group {
  using slot = inhibition_slot;
};
class with_a_private_slot {
  using slot [[maybe_unused]] = inhibition_slot;
};
struct no_policy {};

static_assert(policy<by_group> && !policy<no_policy> && !policy<with_a_private_slot> &&
              !policy<int>);

}  // namespace
