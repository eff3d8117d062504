// SPDX-License-Identifier: BSL-1.0
// What every fuzz target shares: the fuzzer's bytes read as numbers and choices, and how a target
// says that it has found something. Bytes that are not there read as zero, so every input is a
// whole program, and a shorter one is a simpler one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

namespace tether_fuzz {

/// Ends the run as a crash, which libFuzzer keeps the input of. `what` is the sentence that does
/// not hold.
[[noreturn]] inline void found(std::string const& what) {
  std::fprintf(stderr, "found: %s\n", what.c_str());
  std::abort();
}
inline void demand(bool holds, const char* what) {
  if (!holds) found(what);
}

/// Reads front to back.
class input {
 public:
  input(std::uint8_t const* data, std::size_t size) : rest_{data, size} {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto first = rest_.front();
    rest_ = rest_.subspan(1);
    return first;
  }
  bool flag() { return (byte() & 1) != 0; }
  /// One of `count` choices, 256 at most.
  std::uint64_t below(std::uint64_t count) { return byte() % count; }
  std::uint32_t word() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | byte();
    return value;
  }
  /// 64 bits where small numbers, powers of two, their neighbours and the end of the range are as
  /// likely as any number.
  std::uint64_t number() {
    const std::uint8_t how = byte();
    const std::uint64_t power = std::uint64_t{1} << (how & 63);
    switch (how >> 6) {
      case 0: return byte() * (power | 1);
      case 1: return power + byte() - 128;
      case 2: return ~std::uint64_t{0} - byte() * power;
      default: return std::uint64_t{word()} << 32 | word();
    }
  }
  /// All that is left.
  std::span<std::uint8_t const> rest() {
    const auto all = rest_;
    rest_ = {};
    return all;
  }

 private:
  std::span<std::uint8_t const> rest_;
};

}  // namespace tether_fuzz
