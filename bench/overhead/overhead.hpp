// SPDX-License-Identifier: BSL-1.0
// What do the policies cost? One section, mapped in blocks and unmapped, against the same written
// by hand, and against policies that are chosen at run time. The system calls are pretended
// (test/codegen), since a real one would hide the difference.
#pragma once

#include <racing/race.hpp>

#include <codegen/fake_iommu.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/listen/detail/section_plan.hpp>

#include <cstdint>
#include <memory>

namespace overhead {

inline constexpr std::uint64_t block = 64 * tether::KiB;
using backend = codegen::fake_iommu<true>;
using granularity = tether::fixed_block<block>;

/// 1 MiB and a piece at each end: 17 pieces.
struct subject {
  subject() {
    plan.fit.inside = {.where = {tether::io_address{0x100d000}, tether::io_address{0x1114fff}},
                       .host = tether::host_address{0x7f000000d000}};
    plan.offset = tether::block_offset{0xd000};
    plan.pieces = 17;
  }
  tether::detail::section_plan plan{};
};

/// Minimal: `map(plan)` and `unmap(plan)`, which answer what converts to true where it went well.
template <class Path>
bench::sample maps_and_unmaps(subject& of) {
  return bench::repeated([&of, path = std::make_shared<Path>()](std::uint64_t count) {
    bool done = true;
    const double took = bench::nanoseconds([&] {
      for (; count != 0; --count) {
        done = static_cast<bool>(path->map(of.plan)) && done;
        done = static_cast<bool>(path->unmap(of.plan)) && done;
      }
    });
    if (!done) throw bench::cannot_run{"it was not mapped"};
    return took;
  });
}

}  // namespace overhead
