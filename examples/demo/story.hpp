// SPDX-License-Identifier: BSL-1.0
// The story with tether, the same for every configuration: a guest gives memory back before, while
// and after a device is attached that pins it, and while a mediated device is attached that does
// not.
#pragma once

#include "agreement.hpp"
#include "balloon_driver.hpp"
#include "configurations.hpp"
#include "guest_ram.hpp"
#include "host.hpp"
#include "must.hpp"
#include "plot.hpp"
#include "row.hpp"

#include <tether/attach/container.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace demo {

/// An observation policy: counts what the backend is asked.
struct call_counter {
  using slot = tether::observation_slot;
  std::uint64_t map_calls = 0;

  void mapped(tether::mapping const&) noexcept { ++map_calls; }
};

/// What a story needs, in order of construction. Nothing of it outlives what it refers to.
template <class Backend, class Inhibition, class Granularity>
struct stage {
  using container = tether::container<Backend, Inhibition, Granularity, call_counter>;

  guest_ram ram;
  tether::ram_block block;
  tether::address_space guest{};
  tether::discard_gate<> gate{};
  tether::balloon<> balloon{guest, gate, {.must_tell_host = true}};
  container dma;
  tether::endpoint_group nic{
      "nic", {{"eth0", tether::pin_class::pins}, {"eth1", tether::pin_class::pins}}};
  tether::endpoint_group gpu{"gpu", {{"vgpu0", tether::pin_class::pins_on_demand}}};

  explicit stage(std::uint64_t memory)
      : ram{memory},
        block{must(tether::ram_block::borrow("ram", ram.host(), memory,
                                             tether::memory_kind::private_anonymous))},
        dma{guest, gate, must(make_backend<Backend>())} {
    if (const auto unit = unit_for<Granularity>(memory); unit != 0)
      must(tether::divide(block, unit));
    must(guest.place(tether::region::ram(block), tether::guest_address{0}));
  }

  /// The guest gives frames back, and the host discards those that it may.
  void inflate(frame_run frames, row& told) {
    send_frames(frames, [&](std::span<std::byte const> numbers) {
      told.frames += balloon.inflate(numbers);
    });
  }
  /// The guest takes frames back and writes to them.
  void use_again(frame_run frames, turn when) {
    send_frames(frames, [&](std::span<std::byte const> numbers) { balloon.deflate(numbers); });
    ram.write(frames, when);
  }
  [[nodiscard]] bool discards_go_on() const {
    return gate.counts().allow(tether::discard_kind::uncoordinated);
  }
  [[nodiscard]] bool coordinated_discards_go_on() const {
    return gate.counts().allow(tether::discard_kind::coordinated);
  }
};

/// Tells the story. Fails: throws `story_ended` where it cannot go on.
template <class Backend, class Inhibition, class Granularity>
void tell(row& told) {
  constexpr bool pins = Backend::pins;
  const std::uint64_t pinned_before = pinned_now();
  const plot plot{told.guest_bytes};
  const std::uint64_t unit = unit_for<Granularity>(told.guest_bytes);
  told.unit_bytes = unit;
  // The bytes of these frames that leave whole: they are not mapped until the guest uses them.
  const auto leave = [&](frame_run frames) { return frames.in_units(unit) * frame_size; };
  const auto pieces = [&](std::uint64_t bytes) {
    if constexpr (tether::maps_in_blocks<Granularity>) return bytes / Granularity::block_size;
    else return std::uint64_t{0};
  };
  const auto expect_pinned = [&](char const* when, std::uint64_t bytes) {
    told.expect(when, pinned_now() - pinned_before, pins ? bytes : 0);
  };
  stage<Backend, Inhibition, Granularity> on{told.guest_bytes};

  // The guest boots, and gives memory back before there is any device.
  on.ram.write(plot.all, turn::boot);
  on.inflate(plot.early, told);

  // A device is attached that pins all of the guest: discards that nobody tells it of are inhibited
  // from before the first pin. Pages that were given back are brought in again, but for whole
  // units.
  auto nic = must(on.dma.attach(on.nic));
  auto eth0 = must(nic.open("eth0"));
  told.map_calls = on.dma.observer().map_calls;
  told.pinned_bytes = pinned_now() - pinned_before;
  told.expect("map calls", told.map_calls,
              mappings_promised<Granularity>(told.guest_bytes, on.ram.host(),
                                             on.dma.backend().page_sizes()) -
                  pieces(leave(plot.early)));
  expect_pinned("bytes pinned", told.guest_bytes - leave(plot.early));
  told.expect_that(on.discards_go_on() == !pins,
                   "with the NIC attached, the gate must be closed exactly where the backend pins");
  told.expect_that(
      on.coordinated_discards_go_on() == (!pins || tether::maps_in_blocks<Granularity>),
      "coordinated discards must go on exactly where nothing pins, or where memory is mapped in "
      "blocks");

  // The guest gives memory back with the NIC attached, and takes it again: by then it is mapped.
  const std::uint64_t gone_without = gone(told);
  on.inflate(plot.while_attached, told);
  expect_pinned("bytes pinned, less what has left",
                told.guest_bytes - leave(plot.early) - leave(plot.while_attached));
  for (const frame_run frames : {plot.early, plot.while_attached}) {
    on.use_again(frames, turn::touched);
    told.stale_bytes += disagreements(on.ram, frames, *eth0, turn::touched, turn::device_wrote);
  }
  expect_pinned("bytes pinned, once all is back", told.guest_bytes);

  // A mediated device is attached and agrees to discards. Its neighbour pins for good, so it may
  // not, and nothing changes.
  auto gpu = must(on.dma.attach(on.gpu));
  auto vgpu0 = must(gpu.open("vgpu0", tether::agrees_to_discards));
  const auto held = on.gate.counts();
  const auto refused = nic.open("eth1", tether::agrees_to_discards);
  told.expect_that(!refused && refused.error().is(tether::errc::consent_refused),
                   "a device that pins was allowed to agree to discards");
  told.expect_that(on.gate.counts() == held, "a refused consent changed who holds the gate");
  told.expect_that(on.discards_go_on() == !pins,
                   "the mediated device's consent must not open the gate while the NIC pins");
  on.inflate(plot.while_mediated, told);
  on.use_again(plot.while_mediated, turn::touched);
  told.stale_bytes +=
      disagreements(on.ram, plot.while_mediated, *eth0, turn::touched, turn::device_wrote);
  told.gone_meanwhile = gone(told) - gone_without;

  // The NIC is unplugged, and its pins are gone before its hold is. Inhibited requests are not
  // repeated; asked again, the frames are discarded.
  must(nic.request_unplug());
  must(nic.detach());
  told.expect("bytes pinned after the unplug", pinned_now() - pinned_before, 0);
  told.expect_that(on.gate.counts() == tether::gate_counts{},
                   "somebody still holds the gate after the unplug");
  const std::uint64_t gone_before = gone(told);
  on.inflate(plot.while_attached, told);
  told.expect("frames discarded after the unplug", gone(told) - gone_before,
              plot.while_attached.count);
  on.use_again(plot.while_attached, turn::touched_again);
  told.stale_bytes += disagreements(on.ram, plot.for_the_mediated_one(), *vgpu0,
                                    turn::touched_again, turn::mediated_wrote);
  must(gpu.detach());

  // Memory that was not given back has not changed, and nothing that was written since is lost.
  told.expect("bytes that the CPU does not see as they were last written", bytes_lost(on.ram, plot),
              0);

  // Without units nothing goes while a device pins. With them whole units do, and the rest waits.
  const std::uint64_t meanwhile =
      std::uint64_t{plot.while_attached.count} + plot.while_mediated.count;
  const std::uint64_t in_units =
      plot.while_attached.in_units(unit) + plot.while_mediated.in_units(unit);
  const std::uint64_t inhibited = pins && unit == 0 ? meanwhile : 0;
  const std::uint64_t waiting = pins && unit != 0 ? meanwhile - in_units : 0;
  told.expect("frames requested", told.frames.requested, plot.requested());
  told.expect("frames inhibited", told.frames.inhibited, inhibited);
  told.expect("frames that wait for their unit", told.frames.waiting - told.frames.completed,
              waiting);
  told.expect("frames discarded", gone(told), plot.requested() - inhibited - waiting);
  told.expect("frames discarded with the NIC attached", told.gone_meanwhile,
              meanwhile - inhibited - waiting);
  told.expect("bytes at which CPU and device disagree", told.stale_bytes, 0);
  told.expect("map calls in all", on.dma.observer().map_calls,
              told.map_calls + pieces(leave(plot.early) + 2 * leave(plot.while_attached) +
                                      leave(plot.while_mediated)));
  told.expect("mappings left", on.dma.usage().mappings, 0);
  told.end_as(verdict::safe);
}

/// A configuration that needs more mappings than there are: it is refused before anything is
/// touched, and the error says which block would fit.
template <class Backend, class Inhibition, class Granularity>
void tell_refusal(row& told, std::uint64_t budget) {
  const std::uint64_t pinned_before = pinned_now();
  const plot plot{told.guest_bytes};
  stage<Backend, Inhibition, Granularity> on{told.guest_bytes};
  on.ram.write(plot.all, turn::boot);
  const auto refused = on.dma.attach(on.nic);
  if (refused) throw story_ended{"an attach that is over its budget was not refused"};

  std::uint64_t fits = 4 * tether::KiB;
  while (told.guest_bytes / fits > budget) fits *= 2;
  told.expect_that(refused.error().is(tether::errc::over_budget),
                   "the attach was refused for another reason than its budget");
  told.expect("bytes of the block that fits", refused.error().number(), fits);
  told.expect("mappings left", on.dma.usage().mappings, 0);
  told.expect("bytes pinned after the refusal", pinned_now() - pinned_before, 0);
  told.expect("bytes that are not as they were", on.ram.wrong_bytes(plot.all, turn::boot), 0);
  on.inflate(plot.early, told);
  told.expect("frames discarded after the refusal", told.frames.discarded, plot.early.count);
  told.remarks.push_back(refused.error().sentence());
  told.end_as(verdict::refused);
}

}  // namespace demo
