// SPDX-License-Identifier: BSL-1.0
// A slot for each thread, written by an exchange, which is ordered with the load behind it.
#include <permit/own_slots.hpp>
#include <permit/permit.hpp>

#include <atomic>

namespace {

struct gate {
  [[gnu::noinline]] void enter_and_leave() {
    auto& mine = slots.mine();
    mine.exchange(1);
    const int left = closed.load(std::memory_order_acquire);
    mine.store(left, std::memory_order_release);
  }
  permit::own_slots slots{};
  std::atomic<int> closed{0};
};

const bench::side<permit::subject> entered{"slot with xchg", permit::passes_through<gate>};

}  // namespace
