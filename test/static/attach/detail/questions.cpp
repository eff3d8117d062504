// SPDX-License-Identifier: BSL-1.0
// What is answered: runtime/attach/container_status and handles. Here, from records by hand.
#include <tether/attach/detail/questions.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tether::detail {
namespace {

struct a_device {
  std::uint64_t id;
  std::string_view name;
};
struct a_group {
  std::uint64_t id;
  std::string_view name;
  std::vector<a_device> devices;
};

static_assert(noexcept(name_of(std::vector<a_group>{}, {})));
static_assert(
    std::is_same_v<decltype(every_group(std::vector<a_group>{})), std::vector<handle_ids>>);
static_assert(
    std::is_same_v<decltype(every_device(std::vector<a_group>{}, 0)), std::vector<handle_ids>>);

}  // namespace
}  // namespace tether::detail
