// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/commit_scratch.hpp>

#include <tether/topology/memory_backing.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <memory>

namespace runtime_topology_detail_commit_scratch {

using namespace tether;
using tether::detail::chunk_capacity;
using tether::detail::commit_scratch;
using tether::detail::section_owner;

TEST_CASE("at the end of its scope it keeps no owner alive, and room for a few edits only") {
  commit_scratch kept;
  const auto owner = std::make_shared<section_owner const>(label{"ram"}, nullptr);
  for (const std::size_t sections : {std::size_t{3}, 4 * chunk_capacity}) {
    {
      const commit_scratch::scope in_use{kept};
      for (std::size_t i = 0; i != sections; ++i) {
        kept.view.flattened.append(section{}, owner);
        kept.change.removals.push_back({});
        kept.change.additions.push_back({});
        kept.view.changed.push_back({});
      }
      kept.view.pieces.push_back({nullptr, 0, sections});
    }
    CHECK(owner.use_count() == 1);
    CHECK(kept.change.empty());
    CHECK(kept.view.pieces.empty());
    for (const std::size_t room :
         {kept.view.flattened.sections.capacity(), kept.view.flattened.owners.capacity(),
          kept.change.removals.capacity(), kept.change.additions.capacity(),
          kept.view.changed.capacity()}) {
      CHECK(room <= chunk_capacity);
      if (sections < chunk_capacity) CHECK(room != 0);
    }
  }
}

}  // namespace runtime_topology_detail_commit_scratch
