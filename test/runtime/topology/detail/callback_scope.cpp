// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/callback_scope.hpp>

#include <doctest/doctest.h>

#include <thread>

namespace runtime_topology_detail_callback_scope {

using tether::detail::callback_scope;

TEST_CASE("a scope is open for its address space alone, and nested ones leave the outer open") {
  const int one = 0;
  const int other = 0;
  CHECK_FALSE(callback_scope::runs_for(&one));
  {
    const callback_scope outer{&one};
    CHECK(callback_scope::runs_for(&one));
    CHECK_FALSE(callback_scope::runs_for(&other));
    {
      const callback_scope inner{&other};
      CHECK(callback_scope::runs_for(&one));
      CHECK(callback_scope::runs_for(&other));
    }
    CHECK(callback_scope::runs_for(&one));
    CHECK_FALSE(callback_scope::runs_for(&other));
  }
  CHECK_FALSE(callback_scope::runs_for(&one));
}

TEST_CASE("another thread's scopes do not count") {
  const int one = 0;
  const callback_scope here{&one};
  bool there = true;
  std::thread{[&] { there = callback_scope::runs_for(&one); }}.join();
  CHECK_FALSE(there);
}

}  // namespace runtime_topology_detail_callback_scope
