// SPDX-License-Identifier: BSL-1.0
// Threads that do nothing but run, as vCPUs do: what changes the page tables must interrupt them.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

namespace bench {

class busy_threads {
 public:
  explicit busy_threads(unsigned count) {
    std::atomic<unsigned> running{0};
    for (unsigned i = 0; i != count; ++i) {
      threads_.emplace_back([&running](std::stop_token const& stop) {
        running.fetch_add(1);
        while (!stop.stop_requested()) {}
      });
    }
    while (running != count) std::this_thread::yield();
  }

 private:
  std::vector<std::jthread> threads_;
};

}  // namespace bench
