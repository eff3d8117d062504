// SPDX-License-Identifier: BSL-1.0
// Whatever bytes a guest puts into its virtio-mem queue, against a list of which blocks are
// plugged: the answer is the specification's, exactly what was acknowledged has happened, and
// nothing else, while a container attaches, detaches and fails, and discards are suspended.
#include "divided_guest.hpp"
#include "input.hpp"

#include <tether/discard/virtio_mem.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

using namespace tether;
using tether_fuzz::demand;
using tether_fuzz::input;
using tether_fuzz::ram_at;
using tether_fuzz::unit;
using tether_fuzz::units;

namespace {

using answer = virtio_mem_response;

class program {
 public:
  explicit program(input& in) : in_{in} {
    if (in_.flag()) vm_.change_container();
    auto made = virtio_mem<multi_threaded>::create("mem", vm_.ram, ram_at, vm_.gate);
    demand(made.has_value(), "a device is made");
    device_ = std::move(*made);
  }

  void run() {
    while (!in_.empty()) {
      switch (in_.below(10)) {
        case 0: vm_.change_container(); break;
        case 1: vm_.add_fault(in_); break;
        case 2: request_size(); break;
        case 3: suspend(); break;
        case 4: reset(); break;
        default: handle(); break;
      }
      check();
    }
  }

 private:
  [[nodiscard]] std::uint64_t plugged_blocks() const {
    return static_cast<std::uint64_t>(std::ranges::count(plugged_, true));
  }
  void request_size() {
    const std::uint64_t bytes = in_.below(4) == 0 ? in_.number() : in_.below(units + 2) * unit;
    const auto told = device_->request_size(bytes);
    demand(told.has_value() == (bytes % unit == 0 && bytes <= units * unit),
           "a size of whole blocks of the region can be asked for, and no other");
    if (!told) return;
    demand(*told == (bytes != requested_), "it is told whether that is news");
    requested_ = bytes;
  }
  void suspend() {
    if (in_.flag() || suspensions_.empty()) suspensions_.push_back(vm_.gate.suspend("snapshot"));
    else suspensions_.pop_back();
  }
  void reset() {
    const bool may_fail = vm_.may_fail() || !suspensions_.empty();
    const auto done = device_->reset_system();
    demand(done.has_value() || may_fail, "a reset unplugs everything");
    unplugged_all(done.has_value());
  }
  void unplugged_all(bool all) {
    for (std::uint64_t which = 0; which < units; ++which)
      if (all || !vm_.all().is_populated(which)) plugged_[which] = false;
  }

  /// What a guest sends: mostly a request that could be one, its bytes as they lie in the queue.
  std::vector<std::byte> request() {
    std::vector<std::byte> bytes;
    if (in_.below(8) == 0) {
      bytes.resize(in_.below(40));
      for (auto& one : bytes) one = static_cast<std::byte>(in_.byte());
      return bytes;
    }
    bytes.resize(24);
    const auto put = [&bytes](std::size_t at, std::size_t size, std::uint64_t value) {
      for (std::size_t i = 0; i < size; ++i)
        bytes[at + i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
    };
    const std::uint64_t how = in_.byte();
    put(0, 2, how % 16 == 0 ? in_.number() : how % 4);
    put(8, 8, how < 16 ? in_.number() : ram_at.value + (in_.below(units + 2) - 1) * unit);
    put(16, 2, how % 32 == 1 ? in_.number() : in_.below(units + 2));
    return bytes;
  }
  static std::uint64_t number(std::span<std::byte const> bytes, std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
    return value;
  }

  /// What the specification answers, where nothing stands in the way.
  struct expected {
    answer response = answer::ack;
    std::uint64_t state = 0;
    std::uint64_t first = 0, count = 0;
  };
  [[nodiscard]] expected expect(std::uint64_t type, std::uint64_t address, std::uint64_t blocks) {
    if (type == 2) return {};
    const std::uint64_t from = address - ram_at.value;
    if (blocks == 0 || address < ram_at.value || from % unit != 0 || from / unit >= units ||
        from / unit + blocks > units)
      return {.response = answer::error};
    expected all{.first = from / unit, .count = blocks};
    std::uint64_t there = 0;
    for (std::uint64_t i = 0; i < blocks; ++i) there += plugged_[all.first + i] ? 1 : 0;
    if (type == 3) {
      all.state = there == blocks ? 0 : there == 0 ? 1 : 2;
      return all;
    }
    const bool plug = type == 0;
    if (plug && (plugged_blocks() + blocks) * unit > requested_) all.response = answer::nack;
    else if (there != (plug ? 0 : blocks)) all.response = answer::error;
    return all;
  }
  void handle() {
    const auto bytes = request();
    std::vector<std::byte> room(in_.below(4) == 0 ? in_.below(24) : 10, std::byte{0xcc});
    const bool may_fail = vm_.may_fail() || !suspensions_.empty();
    const auto before = plugged_;
    const auto told = device_->handle(bytes, room);
    const std::uint64_t type = bytes.size() < 24 ? 4 : number(bytes, 0, 2);
    if (type > 3 || room.size() < 10) {
      demand(told.broken(), "what is no request is none");
      demand(std::ranges::all_of(room, [](std::byte one) { return one == std::byte{0xcc}; }),
             "where there is no answer, none is written");
      return;
    }
    const expected should = expect(type, number(bytes, 8, 8), number(bytes, 16, 2));
    demand(told.written == 10 && number(room, 0, 2) == static_cast<std::uint64_t>(told.response),
           "the answer is in the response");
    for (std::size_t i = 10; i < room.size(); ++i)
      demand(room[i] == std::byte{0xcc}, "no more is written than is said");
    if (told.response == answer::busy) {
      demand(may_fail && should.response == answer::ack && type != 3 && told.why.has_value(),
             "a request has to wait although nothing stands in the way");
      take_over(type, before);
      return;
    }
    demand(told.response == should.response, "the answer is another than the specification's");
    if (type == 3) demand(number(room, 8, 2) == should.state, "the state is another");
    if (should.response != answer::ack) return;
    if (type == 2) unplugged_all(true);
    for (std::uint64_t i = 0; type < 2 && i < should.count; ++i) {
      const std::uint64_t which = should.first + i;
      plugged_[which] = type == 0;
      if (type != 0) continue;
      std::byte* const first = vm_.first_of(which);
      demand(first[0] == std::byte{0} && std::memcmp(first, first + 1, unit - 1) == 0,
             "what is plugged is empty");
      std::memset(first, static_cast<int>(mark_[which] = static_cast<std::uint8_t>(++stamp_ | 1)),
                  unit);
    }
  }
  /// After *busy* nothing has happened, but for an unplug of all, of which some may have. Only a
  /// container that has diverged may keep a block from becoming what it was.
  void take_over(std::uint64_t type, std::array<bool, units> const& before) {
    for (std::uint64_t which = 0; which < units; ++which) {
      const bool there = vm_.all().is_populated(which);
      demand(there == before[which] || (type == 2 && !there) || vm_.dma.diverged() ||
                 !suspensions_.empty(),
             "a request that has to wait has changed something");
      plugged_[which] = there;
      if (!there) continue;
      // a block that was unplugged and came back is empty
      mark_[which] = std::to_integer<std::uint8_t>(*vm_.first_of(which));
    }
  }

  void check() {
    vm_.check([](std::uint64_t) { return false; });
    // what was brought in stays where a container may have it mapped
    may_be_left_in_ = may_be_left_in_ || vm_.dma.diverged();
    demand(device_->config().plugged_size == plugged_blocks() * unit, "what is plugged is counted");
    demand(device_->config().requested_size == requested_, "what was asked for is told");
    for (std::uint64_t which = 0; which < units; ++which) {
      demand(vm_.all().is_populated(which) == plugged_[which],
             "exactly what is plugged is populated");
      std::byte const* const first = vm_.first_of(which);
      std::array<unsigned char, unit / tether_fuzz::page> there{};
      ::mincore(vm_.first_of(which), unit, there.data());
      if (!plugged_[which]) {
        demand(std::ranges::none_of(there, [](unsigned char one) { return (one & 1) != 0; }) ||
                   may_be_left_in_,
               "what is unplugged has no page");
      } else {
        demand(std::to_integer<std::uint8_t>(first[0]) == mark_[which] &&
                   std::memcmp(first, first + 1, unit - 1) == 0,
               "what is plugged keeps every byte");
      }
    }
  }

  input& in_;
  tether_fuzz::divided_guest vm_;
  std::unique_ptr<virtio_mem<multi_threaded>> device_;
  std::vector<suspension<multi_threaded>> suspensions_;
  std::array<bool, units> plugged_{};
  std::array<std::uint8_t, units> mark_{};
  std::uint64_t requested_ = 0;
  std::uint64_t stamp_ = 0;
  bool may_be_left_in_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  input in{data, size};
  program{in}.run();
  return 0;
}
