// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/emulated/translation_lock.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

namespace runtime_backend_emulated_translation_lock {

using namespace tether;
using namespace tether::detail;

TEST_CASE("translations share the gate, and a change has it alone") {
  translation_lock gate;
  std::shared_lock first{gate};
  std::shared_lock second{gate};
  std::atomic<bool> changed{false};
  std::thread change{[&] {
    const std::lock_guard alone{gate};
    changed = true;
  }};
  CHECK(!changed);
  first.unlock();
  CHECK(!changed);
  second.unlock();
  change.join();
  CHECK(changed);
}

TEST_CASE(
    "a change gets in between translations that never pause, and none of them sees it half done") {
  translation_lock gate;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> entered{0};
  std::atomic<std::uint64_t> torn{0};
  std::uint64_t left = 0;  // guarded by the gate, not atomic: a race here is a finding of TSan's
  std::uint64_t right = 0;
  std::vector<std::thread> translations;
  for (int i = 0; i < 2; ++i) {
    translations.emplace_back([&] {
      while (!stop) {
        const std::shared_lock in{gate};
        ++entered;
        if (left != right) ++torn;
      }
    });
  }
  for (int round = 0; round < 500; ++round) {
    for (const auto before = entered.load(); entered == before;) std::this_thread::yield();
    const std::lock_guard alone{gate};
    ++left;
    std::this_thread::yield();  // whoever could come in now would see the two differ
    ++right;
  }
  stop = true;
  for (auto& one : translations) one.join();
  CHECK(torn == 0);
  CHECK(left == 500);
}

}  // namespace runtime_backend_emulated_translation_lock
