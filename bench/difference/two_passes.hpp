// SPDX-License-Identifier: BSL-1.0
// QEMU's way, stated anew: both maps are walked once for what is removed and once more for what is
// added, over ranges with 128-bit starts and sizes, and each listener is called by a pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace difference::two_passes {

__extension__ using wide = __int128;

struct range {
  wide start;
  wide size;
  void const* memory;
  std::uint64_t offset;
  std::uint8_t dirty_log;
  bool rom_mode;
  bool read_only;
  bool volatile_memory;
};

inline range range_of(std::uint64_t first, std::uint64_t size, std::uint64_t offset) {
  static const int memory = 0;
  return {static_cast<wide>(first), static_cast<wide>(size), &memory, offset, 0, true, false, true};
}

inline bool same(range const& a, range const& b) {
  return a.memory == b.memory && a.start == b.start && a.size == b.size && a.offset == b.offset &&
         a.rom_mode == b.rom_mode && a.read_only == b.read_only &&
         a.volatile_memory == b.volatile_memory;
}

struct counting_listener {
  std::size_t told = 0;
  void (*tell)(counting_listener&, range const&) = [](counting_listener& self, range const&) {
    ++self.told;
  };
};

enum class pass { removes, adds };

template <pass Which>
[[gnu::noinline]] void walk(std::vector<range> const& before, std::vector<range> const& after,
                            counting_listener& listener) {
  std::size_t old = 0;
  std::size_t now = 0;
  while (old != before.size() || now != after.size()) {
    auto const* const a = old == before.size() ? nullptr : &before[old];
    auto const* const b = now == after.size() ? nullptr : &after[now];
    if (a != nullptr && b != nullptr && same(*a, *b)) {
      ++old;
      ++now;
    } else if (a != nullptr && (b == nullptr || a->start <= b->start)) {
      if (Which == pass::removes) listener.tell(listener, *a);
      ++old;
    } else {
      if (Which == pass::adds) listener.tell(listener, *b);
      ++now;
    }
  }
}

[[gnu::noinline]] inline std::size_t between(std::vector<range> const& before,
                                             std::vector<range> const& after) {
  counting_listener listener;
  walk<pass::removes>(before, after, listener);
  walk<pass::adds>(before, after, listener);
  return listener.told;
}

}  // namespace difference::two_passes
