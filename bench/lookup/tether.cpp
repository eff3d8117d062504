// SPDX-License-Identifier: BSL-1.0
// The table of the backends that keep their mappings themselves.
#include <lookup/lookup.hpp>

#include <racing/must.hpp>

#include <tether/backend/detail/iova_table.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

struct tether_table {
  tether::detail::iova_table<> rows{};

  explicit tether_table(std::vector<lookup::interval> const& all) {
    for (auto const& [first, last, host] : all)
      bench::must(rows.insert(
          {{tether::io_address{first}, tether::io_address{last}}, tether::host_address{host}}));
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    const std::size_t row = rows.find(tether::io_address{at});
    if (row == tether::detail::iova_table<>::none) return 0;
    const tether::mapping found = rows[row];
    return found.host.value + (at - found.where.first.value);
  }
};

/// The search alone: a backend reads the row afterwards.
struct rows_only : tether_table {
  using tether_table::tether_table;
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    return rows.find(tether::io_address{at});
  }
};

const bench::side<lookup::subject> whole{"tether", lookup::looks_up<tether_table>};
const bench::side<lookup::subject> search{"tether, row only", lookup::looks_up<rows_only>};

}  // namespace
