// SPDX-License-Identifier: BSL-1.0
// expects: tether\[F1\]: a balloon's second policy says how long the guest waits
#include <tether/discard/balloon.hpp>

#include <cstdint>

// For how long is it tried again?
struct patient {
#ifdef TETHER_CONTROL
  static constexpr std::uint32_t busy_milliseconds = 60'000;
  static constexpr std::uint32_t failed_milliseconds = 1'000;
#else
  static constexpr std::uint32_t milliseconds = 60'000;
#endif
};

void inflate(tether::address_space const& guest, tether::discard_gate<>& gate);
void inflate(tether::address_space const& guest, tether::discard_gate<>& gate) {
  tether::balloon<tether::multi_threaded, patient> balloon{guest, gate};
  static_cast<void>(balloon.inflate(std::span<std::uint32_t const>{}));
}
