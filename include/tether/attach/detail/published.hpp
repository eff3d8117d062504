// SPDX-License-Identifier: BSL-1.0
// What a container answers while it works. Whoever maps holds the backend's lock for as long as
// pinning takes, so questions are answered from a copy, which is made when that lock is let go.
//
//     maps:   lock backend |-------- pins, for seconds --------| copy | unlock
//     asks:                      lock records | answer | unlock
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/extent.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/listen/left_out.hpp>
#include <tether/listen/mapped_usage.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <span>
#include <vector>

namespace tether::detail {

/// Figures and lists as they were when the last change ended. Protected by the records' lock.
struct published {
  mapped_usage usage{};
  std::uint64_t trimmed_bytes = 0;
  container_counts counts{};
  std::uint32_t holds = 0;  ///< of the container as a whole
  std::uint64_t left_out_count = 0;
  bool diverged = false;
  bool lists_complete = false;  ///< false: out of memory for a copy
  left_out_copy left_out{};
  std::uint64_t left_out_version = 0;
  std::vector<extent<io_address>> usable_iova{};

  /// Whether the lists are as these.
  [[nodiscard]] bool lists_equal(std::uint64_t version,
                                 std::span<extent<io_address> const> usable) const noexcept {
    return lists_complete && version == left_out_version && std::ranges::equal(usable, usable_iova);
  }
  /// Copies the lists; `update(left_out)` makes that what is left out, and may throw
  /// `std::bad_alloc`.
  template <class Update>
  [[gnu::cold, gnu::noinline]] void copy_lists(
      Update update, std::uint64_t version, std::span<extent<io_address> const> usable) noexcept {
    lists_complete = false;
    TETHER_TRY {
      usable_iova.assign(usable.begin(), usable.end());
      update(left_out);
      left_out_version = version;
      lists_complete = true;
    }
    TETHER_CATCH(std::exception const&) {
      // The lists stay incomplete: a question about them takes the backend's lock instead.
    }
  }
};

/// A mutex that calls `owner.publish()` before it is unlocked.
template <class Mutex, class Owner>
class publishing_mutex {
 public:
  using inner_mutex = Mutex;
  explicit publishing_mutex(Owner& owner) noexcept : owner_{owner} {}
  void lock() { mutex_.lock(); }
  [[nodiscard]] bool try_lock() { return mutex_.try_lock(); }
  void unlock() {
    owner_.publish();
    mutex_.unlock();
  }
  /// The same mutex, for what changes nothing that is published.
  [[nodiscard]] Mutex& quiet() noexcept { return mutex_; }

 private:
  Owner& owner_;
  [[no_unique_address]] Mutex mutex_;
};

}  // namespace tether::detail
