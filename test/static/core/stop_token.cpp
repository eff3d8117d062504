// SPDX-License-Identifier: BSL-1.0
#include <tether/core/stop_token.hpp>

#include <concepts>
#include <stop_token>

namespace {

using namespace tether::detail;

struct wake {
  void operator()() const noexcept {}
};

static_assert(std::same_as<stop_callbacks<std::stop_token>::type<wake>, std::stop_callback<wake>>);

template <class StopToken>
concept can_wake = requires { sizeof(stop_callbacks<StopToken>); };
static_assert(can_wake<std::stop_token> && !can_wake<int>);

}  // namespace
