// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/process_mark.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

namespace runtime_core_detail_process_mark {

using tether::detail::process_mark;

TEST_CASE("an object is inherited in a child of a fork, and not what the child makes itself") {
  const process_mark mine;
  CHECK_FALSE(mine.is_inherited());
  CHECK(tether_test::in_a_child([&] {
          const process_mark own;
          return mine.is_inherited() && !own.is_inherited() ? 0 : 1;
        }).exit_code == 0);
  CHECK_FALSE(mine.is_inherited());
}

}  // namespace runtime_core_detail_process_mark
