// SPDX-License-Identifier: BSL-1.0
// Several runs of pages of one block, to be discarded in one system call where the kernel takes
// that. Which of them went is all it tells: what is left goes one by one, and says why if it fails.
#pragma once

#include <tether/topology/detail/discard_method.hpp>
#include <tether/topology/detail/memory_guard.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/address.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <sys/uio.h>

namespace tether::detail {

/// Up to `capacity` runs. No allocation: it lives on the stack of one request, 8 KiB.
class run_vector {
 public:
  static constexpr std::size_t capacity = 512;

  struct outcome {
    std::size_t runs = 0;     ///< that were discarded, from the first one on
    std::uint64_t asked = 0;  ///< system calls that were made: 0 or 1
  };

  /// Whether all of a block's runs may be discarded in one call. Where holes are punched in a file
  /// the kernel has no such call, and huge pages are few.
  [[nodiscard]] static bool suits(memory_backing const& memory) noexcept {
    return memory.kind() == memory_kind::private_anonymous && memory.writable();
  }

  [[nodiscard]] std::size_t size() const noexcept { return end_ - first_; }
  [[nodiscard]] bool empty() const noexcept { return end_ == first_; }
  void clear() noexcept { first_ = end_ = 0; }
  /// Requires: fewer than `capacity` since it was empty; the run is valid.
  void add(memory_backing const& memory, extent<block_offset> run) noexcept {
    ranges_[end_++] = {memory.data() + run.first.value, static_cast<std::size_t>(run.size())};
  }
  /// The first run is no longer one of them. Requires: not empty.
  void drop_first() noexcept {
    if (++first_ == end_) clear();
  }

  /// Discards them all, or those before the first one that fails, and drops these. The permit is
  /// judged as `memory_backing::discard` does. Requires: not empty, all of `memory`, sorted.
  outcome discard(memory_backing& memory, discard_permit const& permit) noexcept {
    if (!permit.granted() || permit.coordinated() || !all_whole_pages_of(memory)) return {};
    const memory_guard::scoped_guard discarding{memory.the_guard(), permit.gate()};
    if (!discarding) return {};
    const auto answer = memory.calls_->drop_ranges(&ranges_[first_], size());
    outcome done{0, answer == 0 ? 0U : 1U};
    for (std::uint64_t left = answer < 0 ? 0 : static_cast<std::uint64_t>(answer);
         !empty() && ranges_[first_].iov_len <= left; ++done.runs) {
      left -= ranges_[first_].iov_len;
      drop_first();
    }
    return done;
  }

 private:
  [[nodiscard]] bool all_whole_pages_of(memory_backing const& memory) const noexcept {
    if (!suits(memory)) return false;
    const std::uint64_t page = memory.page_size();
    for (std::size_t at = first_; at != end_; ++at) {
      const auto offset =
          static_cast<std::uint64_t>(static_cast<std::byte*>(ranges_[at].iov_base) - memory.data());
      const std::uint64_t bytes = ranges_[at].iov_len;
      if (offset % page != 0 || bytes % page != 0 || bytes > memory.size() ||
          offset > memory.size() - bytes)
        return false;
    }
    return true;
  }

  std::array<iovec, capacity> ranges_;  // filled by `add` alone
  std::size_t first_ = 0;
  std::size_t end_ = 0;
};

}  // namespace tether::detail
