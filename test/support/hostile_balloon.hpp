// SPDX-License-Identifier: BSL-1.0
// The worst possible balloon: whenever the gate permits it discards all of the guest's memory, and
// the guest touches all of it again. A frame that was pinned meanwhile stays with the device; the
// CPU gets another one. Of divided memory it also discards units, and brings them back.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/populate_failure.hpp>
#include <tether/discard/report.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/unit_source.hpp>

#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace tether_test {

/// Strikes once. `blocks` are pointers to RAM blocks; `let_in()` is called if the gate permits the
/// discard, `guest()` after it. Answers whether it was permitted.
template <class Gate, class Blocks, class LetIn, class Guest>
bool strike(Gate& gate, Blocks const& blocks, LetIn let_in, Guest guest) {
  const auto permit = gate.permit(tether::discard_kind::uncoordinated);
  if (!permit) return false;
  let_in();
  for (tether::ram_block* const one : blocks) {
    static_cast<void>(
        one->discard({tether::block_offset{0}, tether::block_offset{one->size() - 1}}, permit));
  }
  guest();
  return true;
}

/// Two that take units of divided memory away and bring them back, each with a wish of its own for
/// every unit: a source, and a coordinated balloon. Neither ever waits for a container: a unit that
/// cannot be mapped when the balloon deflates is fenced.
class hostile_units {
 public:
  /// Requires: `block` is divided; it lies at `at` in `guest` while it is placed.
  hostile_units(tether::ram_block& block, tether::address_space const& guest,
                tether::guest_address at, tether::discard_gate<>& gate)
      : all_{*block.backing().population()},
        at_{at},
        gate_{gate},
        source_{all_},
        balloon_{guest, gate, {.must_tell_host = true}},
        inflated_(all_.units()),
        fenced_(all_.units()) {}

  /// Strikes once, with what `random` says. On another thread, because a container that is at work
  /// is busy for other threads only. Requires: no such strike is in progress.
  void strike(std::uint64_t random) {
    std::thread{[this, random] {
      const std::uint64_t which = random % all_.units();
      const bool was_there = all_.is_populated(which);
      if (random / 64 % 2 == 0) use_source(which);
      else use_balloon(which, random / 128);
      const bool is_there = all_.is_populated(which);
      if (was_there && !is_there) discarded += 1;
      if (!was_there && is_there) populated += 1;
      if (!is_there) fenced_[which] = false;
    }}.join();
  }

  [[nodiscard]] tether::population const& all() const noexcept { return all_; }
  /// Whether some container may go without a unit that is there (law 24).
  [[nodiscard]] bool may_be_fenced(std::uint64_t which) const { return fenced_[which]; }

  std::uint64_t discarded = 0;
  std::uint64_t populated = 0;
  std::uint64_t refused = 0;  ///< busy, inhibited, or what a backend said

 private:
  void use_source(std::uint64_t which) {
    const auto ask = [this] { return gate_.permit(tether::discard_kind::coordinated); };
    if (source_.wants_gone(which)) {
      refused += source_.populate(which, ask) ? 0U : 1U;
    } else {
      const auto permit = ask();
      refused += source_.discard(which, permit) ? 0U : 1U;
    }
  }
  /// All frames of a unit, or one.
  void use_balloon(std::uint64_t which, std::uint64_t random) {
    const std::uint64_t in_unit = all_.unit_size() / tether::frame_size;
    const std::uint64_t count = random % 4 == 0 ? 1 : in_unit;
    std::vector<std::uint32_t> frames;
    for (std::uint64_t i = 0; i < count; ++i)
      frames.push_back(static_cast<std::uint32_t>(at_.value / tether::frame_size + which * in_unit +
                                                  (i + random / 4) % in_unit));
    const bool deflates = inflated_[which];
    inflated_[which] = !deflates;
    const tether::discard_report told =
        deflates ? balloon_.deflate(frames) : balloon_.inflate(frames);
    if (told.units_fenced != 0) fenced_[which] = true;
    refused += told.busy + told.inhibited + told.units_fenced;
  }

  tether::population& all_;
  tether::guest_address at_;
  tether::discard_gate<>& gate_;
  tether::unit_source source_;
  tether::balloon<tether::multi_threaded, tether::hold_guest<0>> balloon_;
  std::vector<bool> inflated_;
  std::vector<bool> fenced_;
};

}  // namespace tether_test
