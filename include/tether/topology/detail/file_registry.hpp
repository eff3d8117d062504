// SPDX-License-Identifier: BSL-1.0
// The shared files that are mapped now, an intrusive list, so that a file received again is found.
// One registry for each kernel type; topology/detail/shared_files searches it.
#pragma once

#include <tether/fwd.hpp>

#include <mutex>

namespace tether::detail {

/// `newest` and the links of its elements are guarded by `changing`.
struct file_registry {
  std::mutex changing;
  memory_backing* newest = nullptr;
};

/// Never destroyed: a static block may be freed after all else.
union lasting_registry {
  file_registry value;
  constexpr lasting_registry() noexcept : value{} {}
  ~lasting_registry() {}
};
template <class Kernel>
inline constinit lasting_registry registry_of{};

}  // namespace tether::detail
