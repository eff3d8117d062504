// SPDX-License-Identifier: BSL-1.0
// The asymmetric gate by hand: a permit is plain stores and loads that the compiler may not move,
// and a hold pays with a membarrier, which puts a fence into every thread of the process that runs.
#include <permit/hold.hpp>
#include <permit/own_slots.hpp>
#include <permit/permit.hpp>

#include <atomic>
#include <cerrno>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace {

void membarrier(int command) {
  if (::syscall(SYS_membarrier, command, 0, 0) != 0)
    throw bench::cannot_run{"membarrier: " + std::generic_category().message(errno)};
}

struct gate {
  gate() { membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED); }
  [[gnu::noinline]] void enter_and_leave() {
    auto& mine = slots.mine();
    mine.store(1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const int left = closed.load(std::memory_order_acquire);
    mine.store(left, std::memory_order_release);
  }
  [[gnu::noinline]] void close_and_open() {
    closed.store(1, std::memory_order_relaxed);
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    closed.store(0, std::memory_order_release);
  }
  permit::own_slots slots{};
  std::atomic<int> closed{0};
};

const bench::side<permit::subject> permits{"membarrier", permit::passes_through<gate>};
const bench::side<permit::hold_subject> holds{"membarrier", permit::closes<gate>};

}  // namespace
