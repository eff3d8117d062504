// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/io_uring/ring_teardown.hpp>

#include <doctest/doctest.h>

#include <cerrno>

namespace runtime_backend_io_uring_ring_teardown {

using namespace tether;
using namespace tether::detail;

namespace {
/// Kernels of their own, because the note of what was closed is kept for each.
struct first_kernel : linux_kernel {};
struct second_kernel : linux_kernel {};

/// Answers `why` so many times, then 7, and counts.
struct attempts {
  int refusals;
  int why = -ENOMEM;
  int made = 0;
  int operator()() noexcept { return ++made > refusals ? 7 : why; }
};
template <class Kernel>
int retried(attempts& these) {
  return ring_teardown<Kernel>::retried([&]() noexcept { return these(); },
                                        [](int answer) noexcept { return answer; });
}
}  // namespace

TEST_CASE("without a close before it, a refusal is final") {
  attempts two{2};
  CHECK(retried<first_kernel>(two) == -ENOMEM);
  CHECK(two.made == 1);
  ring_teardown<second_kernel>::begins();
  CHECK(retried<first_kernel>(two) == -ENOMEM);
  CHECK(two.made == 2);
}

TEST_CASE("after a close a refusal for memory is repeated, and no other") {
  ring_teardown<second_kernel>::begins();
  attempts six{6};
  CHECK(retried<second_kernel>(six) == 7);
  CHECK(six.made == 7);
  attempts gone{6, -EFAULT};
  CHECK(retried<second_kernel>(gone) == -EFAULT);
  CHECK(gone.made == 1);
  // For ever refused, it ends; and then the teardown is over for others too.
  attempts for_ever{1'000'000};
  CHECK(retried<second_kernel>(for_ever) == -ENOMEM);
  CHECK(for_ever.made > 1);
  const int after = for_ever.made;
  CHECK(retried<second_kernel>(for_ever) == -ENOMEM);
  CHECK(for_ever.made == after + 1);
}

}  // namespace runtime_backend_io_uring_ring_teardown
