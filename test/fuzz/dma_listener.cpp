// SPDX-License-Identifier: BSL-1.0
// A VMM's own memory model, right and wrong, feeding a listener whose backend fails:
// support/fed_by_hand.hpp says what must come of it.
#include "input.hpp"

#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>

#include <support/fed_by_hand.hpp>

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  tether_fuzz::input in{data, size};
  if (in.flag()) tether_test::fed_by_hand<tether::whole_section, 0>{in, tether_fuzz::found}.run();
  else
    tether_test::fed_by_hand<tether::fixed_block<8 * tether::KiB>, 8 * tether::KiB>{
        in, tether_fuzz::found}
        .run();
  return 0;
}
