// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/io_uring/ring_setup.hpp>

#include <support/faulty_kernel.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <linux/io_uring.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <tuple>

namespace runtime_backend_io_uring_ring_setup {

using namespace tether;
using namespace tether::detail;

namespace {
/// Linux, but it notes how large a completion ring is asked for.
struct noting_kernel : linux_kernel {
  static inline std::uint32_t completions = 0;

  template <class... Arguments>
  static answer call(long number, Arguments... arguments) noexcept {
    if constexpr (sizeof...(Arguments) == 2) {
      auto* const asked = static_cast<io_uring_params*>(std::get<1>(std::tuple{arguments...}));
      completions = (asked->flags & IORING_SETUP_CQSIZE) != 0 ? asked->cq_entries : 0;
    }
    return linux_kernel::call(number, arguments...);
  }
};

}  // namespace

TEST_CASE("a ring has 64 completions and two pages that count against the limit") {
  const auto made = ring_parts<noting_kernel>::make(4);
  if (!made) return tether_test::skip_because(made.error().sentence());
  CHECK(noting_kernel::completions == 64);
  CHECK(made->offsets.cq_entries == 64);
  const auto page = linux_kernel::page_size();
  CHECK(made->rings.size() <= page);
  CHECK(made->entries.size() <= page);
  CHECK(made->scratch.size() == 64 * KiB);
}

TEST_CASE("a kernel without sparse buffer tables is called too old") {
  if (const auto probe = ring_parts<faulty_kernel>::make(4); !probe)
    return tether_test::skip_because(probe.error().sentence());
  bool seen = false;
  for (std::uint64_t n = 1; !seen; ++n) {
    const injected_fault fault{n, EINVAL};
    const auto opened = ring_parts<faulty_kernel>::make(4);
    if (!fault.fired()) break;
    seen = !opened && opened.error().is(errc::unsupported) &&
           opened.error().sentence().find("5.19") != std::string::npos;
  }
  CHECK(seen);
}

}  // namespace runtime_backend_io_uring_ring_setup
