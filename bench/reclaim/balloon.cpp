// SPDX-License-Identifier: BSL-1.0
// A balloon that gives back and takes 256 frames of 4 KiB in a request: coordinated, so that a unit
// goes with its last frame; and uncoordinated, which is possible only while nothing is attached,
// each frame at once, or those of 2 MiB together.
#include <reclaim/guest.hpp>

#include <tether/discard/balloon.hpp>
#include <tether/discard/frames.hpp>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace {

constexpr std::size_t request = 256;

/// Calls `act` with the numbers of each request.
template <class Act>
void in_requests(std::uint64_t bytes, Act act) {
  std::vector<std::uint32_t> frames(request);
  for (std::uint64_t at = 0; at != bytes; at += request * tether::frame_size) {
    std::iota(frames.begin(), frames.end(), static_cast<std::uint32_t>(at / tether::frame_size));
    act(std::span<std::uint32_t const>{frames});
  }
}

template <std::uint64_t Unit>
struct coordinated {
  explicit coordinated(reclaim::subject const& of) : vm{of} {}

  void discard() {
    in_requests(vm.ram.size(), [this](auto frames) { balloon.inflate(frames); });
    if (vm.ram.backing().population()->discarded_bytes() == 0 && !vm.containers.empty())
      throw bench::cannot_run{"nothing was discarded"};
  }
  void populate() {
    in_requests(vm.ram.size(), [this](auto frames) { balloon.deflate(frames); });
    bench::must(
        vm.ram.populate({tether::block_offset{0}, tether::block_offset{vm.ram.size() - 1}}));
  }

  reclaim::guest<Unit> vm;
  tether::balloon<> balloon{vm.space, vm.gate, {.must_tell_host = true}};
};

template <bool Whole>
struct uncoordinated {
  explicit uncoordinated(reclaim::subject const& of) : ram{reclaim::memory(of)} {
    if (Whole) bench::must(tether::divide(ram, 2 * tether::MiB));
    bench::must(space.place(tether::region::ram(ram), tether::guest_address{0}));
  }
  void discard() {
    in_requests(ram.size(), [this](auto frames) { balloon.inflate(frames); });
  }
  /// As the guest's first accesses do, a page at a time.
  void populate() {
    in_requests(ram.size(), [this](auto frames) { balloon.deflate(frames); });
    for (std::uint64_t at = 0; at != ram.size(); at += tether::frame_size)
      static_cast<std::byte volatile*>(ram.data())[at] = std::byte{1};
  }

  tether::ram_block ram;
  tether::address_space space{};
  tether::discard_gate<> gate{};
  tether::balloon<> balloon{space, gate, {.must_tell_host = Whole, .whole_units_only = Whole}};
};

const bench::side<reclaim::subject> with_units{"tether's balloon",
                                               reclaim::of_its_unit<coordinated>};
const bench::side<reclaim::subject> without{"uncoordinated balloon, nothing attached",
                                            reclaim::goes_and_comes<uncoordinated<false>>};
const bench::side<reclaim::subject> whole{"the same, whole units of 2 MiB only",
                                          reclaim::goes_and_comes<uncoordinated<true>>};

}  // namespace
