// SPDX-License-Identifier: BSL-1.0
// One counter of all who are in.
#include <permit/hold.hpp>
#include <permit/permit.hpp>

#include <atomic>
#include <thread>

namespace {

struct gate {
  [[gnu::noinline]] void enter_and_leave() {
    inside.fetch_add(1);
    closed.load();
    inside.fetch_sub(1);
  }
  [[gnu::noinline]] void close_and_open() {
    closed.store(1);
    while (inside.load() != 0) std::this_thread::yield();
    closed.store(0);
  }
  alignas(128) std::atomic<int> inside{0};
  alignas(128) std::atomic<int> closed{0};
};

const bench::side<permit::subject> permits{"one counter", permit::passes_through<gate>};
const bench::side<permit::hold_subject> holds{"one counter", permit::closes<gate>};

}  // namespace
