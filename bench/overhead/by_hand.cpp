// SPDX-License-Identifier: BSL-1.0
// The same for one backend and one size of block, as the tests of generated code have it.
#include <overhead/overhead.hpp>

#include <codegen/mapper_by_hand.hpp>

#include <mutex>

namespace {

struct path {
  [[gnu::noinline]] tether::result<void> map(tether::detail::section_plan const& plan) noexcept {
    std::lock_guard turn{mutex};
    return mapper.map(plan);
  }
  [[gnu::noinline]] tether::result<void> unmap(tether::detail::section_plan const& plan) noexcept {
    std::lock_guard turn{mutex};
    return mapper.unmap(plan);
  }
  path() { mapper.backend = &backend; }
  std::mutex mutex{};
  overhead::backend backend{};
  codegen::mapper_by_hand<true, overhead::granularity> mapper{};
};

const bench::side<overhead::subject> entered{"by hand", overhead::maps_and_unmaps<path>};

}  // namespace
