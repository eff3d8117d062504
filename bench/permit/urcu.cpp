// SPDX-License-Identifier: BSL-1.0
// Userspace RCU as a gate: a reader's section for a permit, a grace period for a hold.
#include <permit/hold.hpp>
#include <permit/permit.hpp>

#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu/urcu-memb.h>

namespace {

struct registered_thread {
  registered_thread() { urcu_memb_register_thread(); }
  registered_thread(registered_thread const&) = delete;
  registered_thread& operator=(registered_thread const&) = delete;
  ~registered_thread() { urcu_memb_unregister_thread(); }
  void touch() const noexcept {}
};
const thread_local registered_thread here;

struct gate {
  gate() { urcu_memb_init(); }
  [[gnu::noinline]] void enter_and_leave() {
    here.touch();
    urcu_memb_read_lock();
    urcu_memb_read_unlock();
  }
  [[gnu::noinline]] void close_and_open() { urcu_memb_synchronize_rcu(); }
};

const bench::side<permit::subject> permits{"liburcu", permit::passes_through<gate>};
const bench::side<permit::hold_subject> holds{"liburcu", permit::closes<gate>};

}  // namespace
