// SPDX-License-Identifier: BSL-1.0
// A map of N sections, and containers that follow it.
#pragma once

#include <commit/commit.hpp>

#include <racing/must.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace commit {

class machine {
 public:
  using container = tether::container<tether::software_iommu>;

  machine(std::uint64_t sections, unsigned containers)
      : ram_{bench::must(tether::ram_block::allocate("ram", (sections + 2) * page))},
        ids_(sections) {
    auto change = space_.begin();
    for (std::uint64_t i = 0; i != sections; ++i) ids_[i] = place(change, i);
    bench::must(change.commit());
    for (unsigned i = 0; i != containers; ++i) {
      containers_.emplace_back(space_, gate_, tether::software_iommu{{.budget = 1'000'000}});
      attach(i);
    }
  }

  void attach(unsigned which) {
    groups_.resize(containers_.size());
    groups_[which].emplace(bench::must(containers_[which].attach(nics_)));
  }
  void detach(unsigned which) { bench::must(groups_[which]->detach()); }

  [[gnu::noinline]] void place_and_remove_one() {
    const auto id = bench::must(space_.place(
        ram_page(ids_.size() + 1), tether::guest_address{place_of(ids_.size() / 2) + page}));
    bench::must(space_.remove(id));
  }
  [[gnu::noinline]] void replace_all() {
    shift_ = 1 - shift_;
    auto change = space_.begin();
    for (std::uint64_t i = 0; i != ids_.size(); ++i) {
      bench::must(change.remove(ids_[i]));
      ids_[i] = place(change, i);
    }
    bench::must(change.commit());
  }

 private:
  tether::region ram_page(std::uint64_t number) {
    return tether::region::ram(ram_, tether::block_offset{number * page}, page);
  }
  tether::region_id place(tether::transaction& change, std::uint64_t i) {
    return bench::must(change.place(ram_page(i + shift_), tether::guest_address{place_of(i)}));
  }

  tether::ram_block ram_;
  tether::address_space space_{};
  tether::discard_gate<> gate_{};
  tether::endpoint_group nics_{"nics", {{"eth0", tether::pin_class::pins}}};
  std::vector<tether::region_id> ids_;
  std::uint64_t shift_ = 0;
  std::deque<container> containers_{};
  std::vector<std::optional<container::attached>> groups_{};
};

}  // namespace commit
