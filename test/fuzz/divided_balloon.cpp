// SPDX-License-Identifier: BSL-1.0
// Whatever a guest tells a balloon over divided memory, with a container that maps in blocks and
// attaches, detaches and fails, while holds come and go and the memory is hidden and shown: a unit
// goes only once the guest has given all of it, comes back before the first of its frames is, and
// devices reach exactly what is there.
#include "divided_guest.hpp"
#include "input.hpp"

#include <tether/discard/balloon.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/populate_failure.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

using namespace tether;
using tether_fuzz::demand;
using tether_fuzz::input;
using tether_fuzz::ram_at;
using tether_fuzz::unit;
using tether_fuzz::units;

namespace {

constexpr std::uint64_t in_unit = unit / frame_size;
constexpr std::uint64_t all_frames = units * in_unit;

class program {
 public:
  explicit program(input& in) : in_{in} {
    for (std::uint64_t frame = 0; frame < all_frames; ++frame) write(frame);
  }

  void run() {
    while (!in_.empty()) {
      switch (in_.below(12)) {
        case 0: vm_.change_container(); break;
        case 1: vm_.add_fault(in_); break;
        case 2: hold(); break;
        case 3: let_go(); break;
        case 4: deflate(); break;
        case 5: show_or_hide(); break;
        case 6: reset(); break;
        case 7: guest_writes(); break;
        default: inflate(); break;
      }
      check();
    }
  }

 private:
  void write(std::uint64_t frame) {
    mark_[frame] = static_cast<std::uint8_t>(++stamp_ % 251 + 1);
    std::memset(vm_.ram.data() + frame * frame_size, mark_[frame], frame_size);
  }
  /// The guest uses a frame that it has not given.
  void guest_writes() {
    const std::uint64_t frame = in_.below(all_frames);
    if (!given_[frame]) write(frame);
  }
  void hold() {
    if (in_.below(4) == 0) {
      suspensions_.push_back(vm_.gate.suspend("snapshot"));
    } else {
      const auto kind = in_.flag() ? hold_kind::any : hold_kind::uncoordinated;
      auto taken = vm_.gate.hold(kind, "device");
      demand(taken.has_value(), "a hold is given");
      holds_.push_back({std::move(*taken), kind});
    }
  }
  void let_go() {
    if (in_.flag() && !suspensions_.empty()) suspensions_.pop_back();
    else if (!holds_.empty()) holds_.pop_back();
  }
  /// Whether units may go, and whether single frames may.
  [[nodiscard]] bool units_may() const {
    return suspensions_.empty() && std::ranges::none_of(holds_, [](auto const& one) {
             return one.second == hold_kind::any;
           });
  }
  [[nodiscard]] bool frames_may() const { return suspensions_.empty() && holds_.empty(); }

  /// Where the guest's frame lies, if it is a frame of what is shown.
  [[nodiscard]] bool is_ram(std::uint32_t number) const {
    return shown_ && number >= first_frame && number - first_frame < all_frames;
  }
  std::vector<std::uint32_t> some_frames() {
    std::vector<std::uint32_t> frames;
    for (auto runs = in_.below(6); runs-- > 0;) {
      const auto how = in_.below(6);
      auto first = static_cast<std::uint32_t>(first_frame + in_.below(all_frames + 4) - 2);
      std::uint64_t count = in_.below(12);
      if (how == 0) first = in_.word();
      if (how > 2) {  // a unit
        first = static_cast<std::uint32_t>(first_frame + in_.below(units) * in_unit);
        count = in_unit;
      }
      for (std::uint32_t i = 0; i < count; ++i) frames.push_back(first + i);
    }
    return frames;
  }

  void inflate() {
    const auto frames = some_frames();
    const bool may_fail = vm_.may_fail();
    const auto was_there = there();
    const auto told = balloon_.inflate(frames);
    demand(told.adds_up() && told.requested == frames.size(), "every frame is counted once");
    if (!units_may()) {
      demand(told.inhibited == frames.size() && told.calls == 0 && there() == was_there,
             "an inhibited request changes nothing");
      return;
    }
    std::uint64_t not_ram = 0;
    for (const std::uint32_t number : frames) {
      if (!is_ram(number)) not_ram += 1;
      else given_[number - first_frame] = true;
    }
    demand((frames_may() ? told.not_ram : told.inhibited) == not_ram,
           "what is no memory of the guest's is counted as that");
    demand(told.partial == 0 && told.returned == 0, "a frame is no part of a larger page");
    const auto is_there = there();
    std::uint64_t gone = 0;
    for (std::uint64_t which = 0; which < units; ++which) {
      bool complete = true, named = false;
      for (std::uint64_t i = 0; i < in_unit; ++i) {
        complete = complete && given_[which * in_unit + i];
        for (const std::uint32_t number : frames)
          named = named || (is_ram(number) && number - first_frame == which * in_unit + i);
      }
      demand(complete || is_there[which] || !was_there[which],
             "a unit went of which the guest uses a part");
      demand(!was_there[which] || is_there[which] != (complete && named) || may_fail,
             "a unit stays, although all of it was given");
      gone += was_there[which] && !is_there[which] ? 1 : 0;
    }
    demand(told.units_discarded >= gone, "the units that went are counted");
    // what was given may have gone, and holds what it held or zeros
    for (std::uint64_t frame = 0; frame < all_frames; ++frame)
      if (given_[frame] && is_there[frame / in_unit])
        mark_[frame] = frames_may() ? first_byte(frame) : mark_[frame];
  }
  void deflate() {
    const auto frames = some_frames();
    const auto told = balloon_.deflate(frames);
    demand(told.adds_up() && told.requested == frames.size() && told.calls == 0,
           "every frame is counted once, and nothing goes");
    std::uint64_t returned = 0;
    for (const std::uint32_t number : frames) {
      if (!is_ram(number)) continue;
      returned += 1;
      const std::uint64_t which = (number - first_frame) / in_unit;
      demand(vm_.all().is_populated(which), "a guest is told of memory that is not there");
      given_[number - first_frame] = false;
      came_back(which, told);
    }
    demand(told.returned == returned, "what the guest takes back is counted");
  }
  void came_back(std::uint64_t which, discard_report const& told) {
    if (told.units_fenced != 0) may_lack_[which] = true;
    for (std::uint64_t i = 0; i < in_unit; ++i)
      mark_[which * in_unit + i] = first_byte(which * in_unit + i);
  }
  void reset() {
    const auto told = balloon_.reset();
    given_ = {};
    for (std::uint64_t which = 0; which < units; ++which) {
      demand(vm_.all().is_populated(which), "a reset brings everything back");
      came_back(which, told);
    }
  }
  /// What was given before is in use again. Units that have gone stay so until they are deflated.
  void show_or_hide() {
    const bool on = in_.flag();
    const bool may_fail = vm_.may_fail();
    const auto done = vm_.guest.set_enabled(vm_.region, on);
    demand(done.has_value() || may_fail, "memory is shown or hidden");
    if (!done || on == shown_) return;
    shown_ = on;
    given_ = {};
  }

  [[nodiscard]] std::uint8_t first_byte(std::uint64_t frame) const {
    return std::to_integer<std::uint8_t>(vm_.ram.data()[frame * frame_size]);
  }
  [[nodiscard]] std::array<bool, units> there() const {
    std::array<bool, units> all{};
    for (std::uint64_t which = 0; which < units; ++which)
      all[which] = vm_.all().is_populated(which);
    return all;
  }
  void check() {
    for (std::uint64_t which = 0; which < units; ++which)
      if (!vm_.all().is_populated(which)) may_lack_[which] = false;
    vm_.check([this](std::uint64_t which) { return may_lack_[which]; });
    for (std::uint64_t frame = 0; frame < all_frames; ++frame) {
      std::byte const* const first = vm_.ram.data() + frame * frame_size;
      if (!vm_.all().is_populated(frame / in_unit)) continue;  // looking would bring it in
      const bool zero = given_[frame] && first[0] == std::byte{0};
      demand((first_byte(frame) == mark_[frame] || zero) &&
                 std::memcmp(first, first + 1, frame_size - 1) == 0,
             "a frame that the guest uses has changed");
    }
  }

  static constexpr std::uint64_t first_frame = ram_at.value / frame_size;

  input& in_;
  tether_fuzz::divided_guest vm_;
  balloon<multi_threaded, hold_guest<0>> balloon_{vm_.guest, vm_.gate, {.must_tell_host = true}};
  std::vector<std::pair<tether::hold<multi_threaded>, hold_kind>> holds_;
  std::vector<suspension<multi_threaded>> suspensions_;
  std::array<bool, all_frames> given_{};
  std::array<std::uint8_t, all_frames> mark_{};
  std::array<bool, units> may_lack_{};
  std::uint64_t stamp_ = 0;
  bool shown_ = true;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  input in{data, size};
  program{in}.run();
  return 0;
}
