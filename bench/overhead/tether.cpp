// SPDX-License-Identifier: BSL-1.0
// What a container has between its lock and its backend.
#include <overhead/overhead.hpp>

#include <tether/core/error.hpp>
#include <tether/listen/detail/section_mapper.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/progress.hpp>

#include <mutex>

namespace {

struct path {
  [[gnu::noinline]] tether::result<void> map(tether::detail::section_plan const& plan) noexcept {
    tether::unmonitored nobody;
    std::lock_guard turn{mutex};
    return mapper.map(plan, nobody);
  }
  [[gnu::noinline]] tether::result<void> unmap(tether::detail::section_plan const& plan) noexcept {
    std::lock_guard turn{mutex};
    return mapper.unmap(plan);
  }
  std::mutex mutex{};
  overhead::backend backend{};
  tether::detail::section_mapper<overhead::backend, overhead::granularity, tether::no_observation>
      mapper{backend};
};

const bench::side<overhead::subject> entered{"tether", overhead::maps_and_unmaps<path>};

}  // namespace
