// SPDX-License-Identifier: BSL-1.0
// The story that tether grew from: in one container a mediated device that agrees to discards, and
// a real one that does not. The balloon works, stops when the real one is plugged, stays stopped
// whatever the other does, and works again when it is unplugged.
// tier: 1 2
// machine: -device edu
// modules: mdev
#include <system/in_machine.hpp>

namespace system_opt_in_beside_passthrough {

using namespace in_machine;

namespace {

template <class Inhibition>
void tell() {
  mediated_device serial;
  vm<Inhibition> v;
  const auto address = edu_address();
  unsigned turn = 0;
  const auto works = [&] {
    const auto told = v.balloon.inflate(frame_numbers(40, 8));
    CHECK(told.adds_up());
    for (const auto frame : frames_behind(v.ram.data() + 40 * page, 8 * page)) CHECK(frame == 0);
    CHECK(locked_by_the_kernel() == 0);
    return told.discarded == 8;
  };
  // Stopped means: nothing moves, and what the device writes into what was ballooned the CPU reads,
  // and the other way round.
  const auto is_stopped = [&](vfio_device* device) {
    const auto before = frames_behind(v.ram);
    const auto told = v.balloon.inflate(frame_numbers(40, 8));
    CHECK(told.adds_up());
    CHECK(locked_by_the_kernel() == v.ram.size() + v.mailbox.size());
    ++turn;
    for (std::uint64_t at = 0; at < v.ram.size(); at += page)
      std::ranges::copy(pattern(at / page, turn, page), v.ram.data() + at);
    CHECK(frames_behind(v.ram) == before);
    if (device != nullptr) {
      auto dma = v.drive(*device);
      std::vector<std::byte> seen(edu::most);
      must(dma.dma_read(io_address{44 * page}, seen));
      CHECK(std::ranges::equal(seen, v.at(44 * page, edu::most)));
      const auto sent = pattern(47, turn + 100, edu::most);
      must(dma.dma_write(io_address{47 * page}, sent));
      CHECK(std::ranges::equal(v.at(47 * page, edu::most), sent));
    }
    return told.inhibited == 8;
  };

  CHECK(works());
  auto emulated = must(v.dma.attach(serial.group()));
  CHECK(v.balloon.inflate(frame_numbers(40, 8)).inhibited == 8);  // nobody knows yet what it is
  static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
  CHECK(works());

  auto real = must(v.dma.attach(group_of(address)));
  CHECK(is_stopped(nullptr));  // the group pins, with no device open
  const auto asked = real.open(address, agrees_to_discards);
  REQUIRE(!asked);
  CHECK(asked.error().is(errc::consent_refused));
  auto device = must(real.open(address));
  CHECK(is_stopped(device.get()));

  must(emulated.detach());
  CHECK(is_stopped(device.get()));
  emulated = must(v.dma.attach(serial.group()));
  CHECK(is_stopped(device.get()));
  static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
  CHECK(is_stopped(device.get()));

  must(device.close());
  CHECK(is_stopped(nullptr));
  must(real.detach());
  CHECK(works());
  // the mappings stayed, and pin nothing
  CHECK(v.dma.usage().bytes == v.ram.size() + v.mailbox.size());

  // And the same once more: nothing of the first time is left.
  real = must(v.dma.attach(group_of(address)));
  CHECK(is_stopped(nullptr));
  must(real.detach());
  CHECK(works());
  must(emulated.detach());
  CHECK(works());
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.dma.usage().mappings == 0);
}

/// A mediated device that does not agree keeps the balloon down by itself, although it pins
/// nothing.
template <class Inhibition>
void silence_is_no_consent() {
  mediated_device serial;
  vm<Inhibition> v;
  auto emulated = must(v.dma.attach(serial.group()));
  auto device = must(emulated.open(serial.name()));
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  must(device.close());
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  must(emulated.detach());
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).discarded == 4);
}

}  // namespace

TEST_CASE("inhibit_per_group: the balloon works, stops, stays stopped and works again") {
  tell<inhibit_per_group>();
}
TEST_CASE("inhibit_per_device: the balloon works, stops, stays stopped and works again") {
  tell<inhibit_per_device>();
}
TEST_CASE("inhibit_per_container: the balloon works, stops, stays stopped and works again") {
  tell<inhibit_per_container>();
}
TEST_CASE("a mediated device that does not say that it agrees keeps the balloon down") {
  silence_is_no_consent<inhibit_per_group>();
  silence_is_no_consent<inhibit_per_device>();
  silence_is_no_consent<inhibit_per_container>();
}

}  // namespace system_opt_in_beside_passthrough
