// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/detail/shown_gate.hpp>

#include <doctest/doctest.h>

#include <mutex>
#include <thread>

namespace runtime_inhibit_detail_shown_gate {

using tether::detail::shown_gate;

TEST_CASE("a thread is shown the gates that are open around it, and no other thread is") {
  const std::mutex gate;
  const std::mutex another;
  void const* const one = &gate;
  void const* const other = &another;
  CHECK_FALSE(shown_gate::shows(one));
  {
    const shown_gate outer{one};
    {
      const shown_gate inner{other};
      CHECK(shown_gate::shows(one));
      CHECK(shown_gate::shows(other));
      std::thread{[one] { CHECK_FALSE(shown_gate::shows(one)); }}.join();
    }
    CHECK(shown_gate::shows(one));
    CHECK_FALSE(shown_gate::shows(other));
  }
  CHECK_FALSE(shown_gate::shows(one));
}

}  // namespace runtime_inhibit_detail_shown_gate
