// SPDX-License-Identifier: BSL-1.0
// What memory records of who else may reach it: whose it is, and devices that may still reach it
// although no section shows it any more. `unfreed_blocks` changes it.
#pragma once

#include <tether/core/detail/list_link.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/fwd.hpp>

#include <cstdint>
#include <memory>
#include <mutex>

namespace tether::detail {

/// Protected by `changing`, but for `made_by`.
struct keeping : list_link<keeping> {
  process_mark made_by{};
  std::uint32_t references = 0;  ///< of the memory's, those for such a device
  std::uint32_t blocks = 0;      ///< that were destroyed meanwhile, and not freed
  std::shared_ptr<memory_backing> self{};  ///< the memory itself, while `blocks` is not 0

  inline static constinit std::mutex changing{};
  /// The list of all that have blocks; never destroyed: a device may reach them at exit, too.
  inline static constinit keeping* newest = nullptr;
};

}  // namespace tether::detail
