// SPDX-License-Identifier: BSL-1.0
// What a commit of an address space computes, for views that share nothing (two address spaces made
// them), and for views of which one was made from the other.
#include <difference/difference.hpp>

#include <racing/must.hpp>

#include <tether/topology/address_space.hpp>
#include <tether/topology/detail/difference.hpp>
#include <tether/topology/ram_block.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace {

using difference::record;
using difference::subject;

/// Requires: it lives shorter than the block.
class space_of {
 public:
  space_of(tether::ram_block& block, std::vector<record> const& all) : block_{block} {
    auto change = space_.begin();
    for (record const& one : all) ids_.push_back(place(change, one));
    bench::must(change.commit());
  }
  [[nodiscard]] tether::view_guard view() const { return space_.view(); }
  void replace(std::size_t which, record const& by) {
    auto change = space_.begin();
    bench::must(change.remove(ids_[which]));
    ids_[which] = place(change, by);
    bench::must(change.commit());
  }

 private:
  tether::region_id place(tether::transaction& change, record const& one) {
    return bench::must(change.place(
        tether::region::ram(block_, tether::block_offset{one.offset}, one.last - one.first + 1),
        tether::guest_address{one.first}));
  }

  tether::ram_block& block_;
  tether::address_space space_{};
  std::vector<tether::region_id> ids_{};
};

struct maps {
  explicit maps(subject const& of)
      : block{bench::must(
            tether::ram_block::allocate("ram", (of.before.size() + 1) * subject::page))},
        old_space{block, of.before},
        new_space{block, of.after} {}

  tether::ram_block block;
  space_of old_space;
  space_of new_space;
  std::optional<tether::view_guard> before{};
  std::optional<tether::view_guard> after{};
};

[[gnu::noinline]] std::size_t between(tether::flat_view const& before,
                                      tether::flat_view const& after) {
  const auto found = tether::detail::difference::between(before, after);
  return found.removals.size() + found.additions.size();
}

bench::sample over(std::shared_ptr<maps> both, std::size_t sections) {
  return difference::finds(sections, [both] { return between(**both->before, **both->after); });
}

bench::sample nothing_shared(subject& of) {
  auto both = std::make_shared<maps>(of);
  both->before = both->old_space.view();
  both->after = both->new_space.view();
  return over(both, of.before.size());
}
bench::sample chunks_shared(subject& of) {
  auto both = std::make_shared<maps>(of);
  both->before = both->old_space.view();
  both->old_space.replace(of.before.size() / 2, of.after[of.before.size() / 2]);
  both->after = both->old_space.view();
  return over(both, of.before.size());
}

const bench::side<subject> whole{"tether", nothing_shared};
const bench::side<subject> shared{"tether, chunks shared", chunks_shared};

}  // namespace
