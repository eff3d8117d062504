// SPDX-License-Identifier: BSL-1.0
// Compiled as ever: a result is a tl::expected, with C++23, too.
#include <tether/tether.hpp>

#include <tl/expected.hpp>

#include <type_traits>

static_assert(std::is_same_v<tether::result<int>, tl::expected<int, tether::error>>);

using any_function = void (*)();
any_function failure_of_the_plain_part() noexcept;
any_function failure_of_the_plain_part() noexcept {
  return reinterpret_cast<any_function>(&tether::failure);
}
bool plain_part_works();
bool plain_part_works() {
  const auto none = tether::ram_block::allocate("none", 0);
  return !none && !none.error().sentence().empty();
}
