// SPDX-License-Identifier: BSL-1.0
// QEMU's two passes (two_passes.hpp).
#include <difference/difference.hpp>
#include <difference/two_passes.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace {

namespace two_passes = difference::two_passes;

std::vector<two_passes::range> ranges(std::vector<difference::record> const& all) {
  std::vector<two_passes::range> made;
  for (auto const& one : all)
    made.push_back(two_passes::range_of(one.first, one.last - one.first + 1, one.offset));
  return made;
}

const bench::side<difference::subject> entered{
    "two passes (QEMU)", [](difference::subject& of) {
      auto both = std::make_shared<
          std::pair<std::vector<two_passes::range>, std::vector<two_passes::range>>>(
          ranges(of.before), ranges(of.after));
      return difference::finds(of.before.size(),
                               [both] { return two_passes::between(both->first, both->second); });
    }};

}  // namespace
