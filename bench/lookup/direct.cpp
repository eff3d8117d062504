// SPDX-License-Identifier: BSL-1.0
// A program's own buffers in a table of blocks, asked as a driver asks: by the address that the
// program sees, through `mapped_buffers`. The interval's own addresses stand for the program's.
#include <lookup/lookup.hpp>

#include <racing/must.hpp>
#include <scale/yes_iommu.hpp>

#include <tether/backend/direct_lookup.hpp>
#include <tether/backend/mapped_buffers.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

struct direct {
  scale::yes_iommu iommu{};
  using buffers_type =
      tether::mapped_buffers<scale::yes_iommu, tether::direct_lookup<lookup::page>>;
  buffers_type buffers = bench::must(buffers_type::over(iommu));

  explicit direct(std::vector<lookup::interval> const& all) {
    for (auto const& [first, last, host] : all)
      bench::must(buffers.map_at(tether::io_address{host},
                                 {reinterpret_cast<std::byte*>(first), last - first + 1}));
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    const auto found = buffers.translate(reinterpret_cast<void const*>(at));
    if (!found) [[unlikely]]
      return 0;
    return found->value;
  }
};

const bench::side<lookup::subject> entered{"tether, direct_lookup", lookup::looks_up<direct>};

}  // namespace
