// SPDX-License-Identifier: BSL-1.0
// As what a memory is shown, by the names of regions: told where it is freed too soon. They come
// and go on any thread.
#pragma once

#include <tether/core/detail/list_link.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/label.hpp>
#include <tether/version.hpp>

#include <mutex>

namespace tether::detail {

/// A name under which a memory is shown.
struct referrer : list_link<referrer> {
  explicit referrer(label const& shown_as) noexcept : name{shown_as} {}
  label name;
};

/// The list of one memory. Thread-safe. In a child of a fork the list stays as it is: if the parent
/// was changing it, its lock is never released there.
class referrers {
 public:
  referrers() noexcept = default;
  referrers(referrers const&) = delete;
  referrers& operator=(referrers const&) = delete;

  void add(referrer& one) noexcept {
    if (const auto locked = lock()) one.join(newest_);
  }
  /// Requires: an earlier `add`.
  void remove(referrer& one) noexcept {
    if (const auto locked = lock()) one.leave();
  }
  /// The name of the one that came last; empty if there is none.
  [[nodiscard]] label newest() const noexcept {
    const auto locked = lock();
    return locked && newest_ != nullptr ? newest_->name : label{};
  }

 private:
  [[nodiscard]] std::unique_lock<std::mutex> lock() const noexcept {
    return made_by_.is_inherited() ? std::unique_lock<std::mutex>{} : std::unique_lock{changing_};
  }

  mutable std::mutex changing_;
  referrer* newest_ = nullptr;
  process_mark made_by_;
};

}  // namespace tether::detail
