// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/commit_scratch.hpp>

#include <tether/topology/memory_backing.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace runtime_topology_detail_commit_scratch {

using namespace tether;
using tether::detail::commit_scratch;
using tether::detail::section_chunk;
using tether::detail::section_owner;

TEST_CASE("at the end of its scope it keeps no owner alive, and room for a few edits only") {
  commit_scratch kept;
  const auto owner = std::make_shared<section_owner const>(label{"ram"}, nullptr);
  constexpr std::size_t few = 128;
  for (const std::size_t sections : {std::size_t{3}, 4 * few}) {
    {
      const commit_scratch::scope in_use{kept};
      for (std::size_t i = 0; i != sections; ++i) {
        kept.view.flattened.append(section{}, owner);
        kept.change.removals.push_back({});
        kept.change.additions.push_back({});
        kept.view.changed.push_back({});
      }
      kept.view.pieces.push_back({nullptr, 0, sections});
      auto chunk = section_chunk::make(sections);
      chunk->append(kept.view.flattened, 0, sections);
      std::vector<tether::detail::chunk_pointer> all{chunk};
      kept.view.loose.assign(sections, chunk);
      kept.view.groups.push_back(tether::detail::chunk_group::make(all));
    }
    CHECK(owner.use_count() == 1);
    CHECK(kept.change.empty());
    CHECK(kept.view.pieces.empty());
    CHECK(kept.view.loose.empty());
    CHECK(kept.view.groups.empty());
    for (const std::size_t room :
         {kept.view.flattened.sections.capacity(), kept.view.flattened.owners.capacity(),
          kept.change.removals.capacity(), kept.change.additions.capacity(),
          kept.view.changed.capacity(), kept.view.loose.capacity()}) {
      CHECK(room <= few);
      if (sections < few) CHECK(room != 0);
    }
  }
}

}  // namespace runtime_topology_detail_commit_scratch
