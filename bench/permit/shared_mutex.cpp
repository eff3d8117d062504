// SPDX-License-Identifier: BSL-1.0
// std::shared_mutex: shared for a permit, exclusive for a hold.
#include <permit/hold.hpp>
#include <permit/permit.hpp>

#include <mutex>
#include <shared_mutex>

namespace {

struct gate {
  [[gnu::noinline]] void enter_and_leave() { const std::shared_lock in{mutex}; }
  [[gnu::noinline]] void close_and_open() { const std::unique_lock held{mutex}; }
  std::shared_mutex mutex{};
};

const bench::side<permit::subject> permits{"std::shared_mutex", permit::passes_through<gate>};
const bench::side<permit::hold_subject> holds{"std::shared_mutex", permit::closes<gate>};

}  // namespace
