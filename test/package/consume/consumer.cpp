// SPDX-License-Identifier: BSL-1.0
// Somebody's program. It needs no warning flags of ours, and gets none.
#include <tether/tether.hpp>

#include <cstdio>

int main(int count, char**) {
  // -Wconversion with -Werror refuses this line, were our warnings to leak
  const short narrowed = count;
  if (narrowed != 1 || tether::extent<tether::guest_address>::of(tether::guest_address{0}, 0))
    return 1;
  std::printf("tether %d.%d.%d\n", TETHER_VERSION_MAJOR, TETHER_VERSION_MINOR,
              TETHER_VERSION_PATCH);
}
