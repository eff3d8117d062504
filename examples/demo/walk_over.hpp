// SPDX-License-Identifier: BSL-1.0
// The stories over one backend, for the source that compiles them.
#pragma once

#include "configurations.hpp"
#include "must.hpp"
#include "row.hpp"
#include "sizes.hpp"
#include "story.hpp"
#include "walk.hpp"

#include <tether/core/address.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>

#include <boost/hana/for_each.hpp>
#include <boost/hana/unpack.hpp>

#include <cstdint>
#include <string>
#include <type_traits>

namespace demo {

template <class Backend, class Inhibition, class Granularity>
[[nodiscard]] row row_of(walk const& into) {
  return {.backend = name_of_policy<Backend>,
          .inhibition = name_of_policy<Inhibition>,
          .granularity = name_of_policy<Granularity>,
          .guest_bytes = into.most<Backend>()};
}

/// A granularity that cuts finely may need more mappings than there are: then its guest is a
/// smaller one.
template <class Backend, class Granularity>
void shrink_to_budget(row& told, walk& into) {
  const auto iommu = must(make_backend<Backend>());
  const auto needed = [&](std::uint64_t bytes) {
    return mappings_promised<Granularity>(bytes, tether::host_address{0}, iommu.page_sizes());
  };
  const std::uint64_t wanted = told.guest_bytes;
  while (needed(told.guest_bytes) > iommu.free_mappings())
    told.guest_bytes = tether::round_down(told.guest_bytes - 1, tether::MiB);
  if (told.guest_bytes == wanted) return;
  into.note(told.backend + " holds " + std::to_string(iommu.free_mappings()) + " mappings, and " +
            told.granularity + " takes " + std::to_string(needed(wanted)) + " of them for " +
            in_words(wanted) + ": that guest has " + in_words(told.guest_bytes));
}

template <class Backend>
void tell_every_configuration(walk& into) {
  hana::for_each(every_valid_configuration, [&](auto configuration) {
    hana::unpack(configuration, [&](auto over, auto inhibition, auto granularity) {
      using inhibit = typename decltype(inhibition)::type;
      using granule = typename decltype(granularity)::type;
      if constexpr (std::is_same_v<typename decltype(over)::type, Backend>)
        into.run(row_of<Backend, inhibit, granule>(into), [&](row& told) {
          shrink_to_budget<Backend, granule>(told, into);
          tell<Backend, inhibit, granule>(told);
        });
    });
  });
}

template <class Backend>
void tell_the_smallest_blocks(walk& into) {
  using inhibit = tether::inhibit_per_group;
  using smallest = tether::fixed_block<4 * tether::KiB>;
  into.run(row_of<Backend, inhibit, smallest>(into), [&](row& told) {
    const std::uint64_t blocks = told.guest_bytes / smallest::block_size;
    const std::uint64_t budget = must(make_backend<Backend>()).free_mappings();
    const std::string holds = told.backend + " holds " + std::to_string(budget) + " mappings, ";
    const std::string all =
        std::to_string(blocks) + " blocks of 4 KiB for " + in_words(told.guest_bytes);
    if (blocks > budget) {
      tell_refusal<Backend, inhibit, smallest>(told, budget);
      into.note(holds + "and not " + all + ": " + told.remarks.back());
    } else {
      tell<Backend, inhibit, smallest>(told);
      into.note(holds + "so " + all + " are not refused; a larger guest's are");
    }
  });
}

}  // namespace demo
