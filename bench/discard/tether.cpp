// SPDX-License-Identifier: BSL-1.0
// tether's balloon.
#include <discard/discard.hpp>

#include <tether/discard/balloon.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>

#include <cstdint>
#include <memory>
#include <span>

namespace {

struct guest {
  explicit guest(discard::subject& of) {
    bench::must(space.place(tether::region::ram(of.block), tether::guest_address{0}));
  }
  [[gnu::noinline]] void give(std::span<std::uint32_t const> numbers) {
    const auto said = balloon.inflate(numbers);
    if (said.discarded != numbers.size()) throw bench::cannot_run{"not all pages were discarded"};
  }

  tether::address_space space{};
  tether::discard_gate<> gate{};
  tether::balloon<> balloon{space, gate};
};

const bench::side<discard::subject> entered{
    "tether", [](discard::subject& of) {
      return discard::gives_back(
          of, [vm = std::make_shared<guest>(of)](auto numbers) { vm->give(numbers); });
    }};

}  // namespace
