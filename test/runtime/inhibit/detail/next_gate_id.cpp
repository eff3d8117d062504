// SPDX-License-Identifier: BSL-1.0
// Each gate has an id of its own, which is never `none`.
#include <tether/inhibit/detail/next_gate_id.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <limits>

namespace runtime_inhibit_detail_next_gate_id {

using namespace tether;

TEST_CASE("ids differ, and are never none, also where the counter wraps") {
  const auto first = detail::next_gate_id();
  CHECK(first != gate_id::none);
  CHECK(detail::next_gate_id() != first);
  const std::uint32_t before =
      detail::gates_made.exchange(std::numeric_limits<std::uint32_t>::max() - 1);
  CHECK(detail::next_gate_id() == gate_id{std::numeric_limits<std::uint32_t>::max()});
  CHECK(detail::next_gate_id() == gate_id{1});
  detail::gates_made.store(before);
}

}  // namespace runtime_inhibit_detail_next_gate_id
