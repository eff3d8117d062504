// SPDX-License-Identifier: BSL-1.0
// The limit: a store, a load and a store without any order between them, which protects nothing.
#include <permit/own_slots.hpp>
#include <permit/permit.hpp>

#include <atomic>

namespace {

struct gate {
  [[gnu::noinline]] void enter_and_leave() {
    auto& mine = slots.mine();
    mine.store(1, std::memory_order_relaxed);
    const int left = closed.load(std::memory_order_relaxed);
    mine.store(left, std::memory_order_release);
  }
  permit::own_slots slots{};
  std::atomic<int> closed{0};
};

const bench::side<permit::subject> entered{"plain store and load", permit::passes_through<gate>};

}  // namespace
