// SPDX-License-Identifier: BSL-1.0
// What does closing the gate cost while nobody is in it, alone and beside a thread that runs?
#pragma once

#include <racing/busy_threads.hpp>
#include <racing/race.hpp>

#include <cstdint>
#include <memory>

namespace permit {

struct hold_subject {
  explicit hold_subject(unsigned beside) : vcpus{beside} {}
  bench::busy_threads vcpus;
};

/// Minimal: `close_and_open()`. It is a call, tether's too.
template <class Gate>
bench::sample closes(hold_subject&) {
  return bench::repeated([gate = std::make_shared<Gate>()](std::uint64_t count) {
    return bench::nanoseconds([&] {
      for (; count != 0; --count) gate->close_and_open();
    });
  });
}

}  // namespace permit
