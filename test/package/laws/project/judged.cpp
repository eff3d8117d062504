// SPDX-License-Identifier: BSL-1.0
// A backend and policies of one's own, judged by the installed laws: all that it takes is to name
// them to each suite.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "table_iommu.hpp"

#include <tether/laws/backend.hpp>
#include <tether/laws/buffer_lookup.hpp>
#include <tether/laws/edges.hpp>
#include <tether/laws/gate.hpp>
#include <tether/laws/granularity.hpp>
#include <tether/laws/hostile_balloon.hpp>
#include <tether/laws/inhibition.hpp>
#include <tether/laws/memory_listener.hpp>
#include <tether/proof.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <utility>

namespace own {

using namespace tether;

/// For `laws/backend.hpp`.
struct rig {
  using backend_type = table_iommu;
  static result<backend_type> make(laws::limits const& small) {
    return table_iommu{small.usable, small.budget};
  }
};
/// For `laws/hostile_balloon.hpp`.
struct model {
  using backend_type = table_iommu;
  static result<backend_type> make() {
    return table_iommu{{extent<io_address>{io_address{0}, io_address{0xffff'ffff}}}, 65535};
  }
  static constexpr std::array<std::array<const char*, 2>, 3> names{
      {{"nic", "disk"}, {"vgpu", "vdsa"}, {"gpu", "sound"}}};
  static const char* device(std::size_t group, std::size_t which) { return names[group][which]; }
  static endpoint_group group(std::size_t which) {
    const auto pins = which == 1 ? pin_class::pins_on_demand : pin_class::pins;
    return {std::to_string(which), {{names[which][0], pins}, {names[which][1], pins}}};
  }
};

/// For `mapped_buffers`: buffers by their first host address.
class lookup_in_a_map {
 public:
  static constexpr std::uint64_t block_size = 1;
  [[nodiscard]] bool insert(buffer_place const& one) noexcept {
    return all_.emplace(one.host.first.value, one).second;
  }
  void erase(buffer_place const& one) noexcept { all_.erase(one.host.first.value); }
  [[nodiscard]] std::optional<buffer_place> first_in(extent<host_address> where) const noexcept {
    auto at = all_.upper_bound(where.first.value);
    if (at != all_.begin() && std::prev(at)->second.host.last >= where.first) --at;
    if (at == all_.end() || at->second.host.first > where.last) return {};
    return at->second;
  }
  [[nodiscard]] bool find(host_address host, std::uint64_t bytes,
                          io_address& found) const noexcept {
    const auto there = first_in({host, host});
    if (!there || bytes - 1 > there->host.last - host) return false;
    found = there->first + (host - there->host.first);
    return true;
  }
  [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

 private:
  std::map<std::uint64_t, buffer_place> all_;
};

/// Like `inhibit_per_group`, but nobody is refused.
struct hold_for_each_group {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
};
/// Two host pages at a time, counted from the RAM block's beginning.
struct by_twos {
  using slot = granularity_slot;
  static constexpr std::uint64_t block_size = 8 * KiB;
  static constexpr std::uint64_t first_piece(mapping const& rest, block_offset offset,
                                             page_sizes) noexcept {
    return std::min(rest.where.size(), block_size - offset.value % block_size);
  }
  static constexpr std::uint64_t pieces(mapping const& rest, block_offset offset,
                                        page_sizes) noexcept {
    return (offset.value + rest.where.size() - 1) / block_size - offset.value / block_size + 1;
  }
};
/// RAM must have at least one whole page.
struct no_vanishing {
  using slot = edges_slot;
  static constexpr bool refuses(fitting::verdict how, bool is_ram) noexcept {
    return is_ram &&
           (how == fitting::verdict::nothing_left || how == fitting::verdict::not_congruent);
  }
};
/// A mutex of the VMM's own, for `multi_threaded_with`.
class counting_mutex {
 public:
  void lock() {
    mutex_.lock();
    ++locked_;
  }
  bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
  std::uint64_t locked_ = 0;
};
/// Remembers what is where.
class map_keeper {
 public:
  void begin(commit_kind kind) noexcept {
    kind_ = kind;
    before_ = now_;
    removed_.clear();
  }
  void remove(section const& one) noexcept {
    now_.erase(one.where.first.value);
    removed_.emplace(one.where.first.value, one);
  }
  void add(section const& one) noexcept { now_.insert_or_assign(one.where.first.value, one); }
  result<void> commit() noexcept {
    if (!std::exchange(refuses, false)) return {};
    now_ = before_;
    if (kind_ == commit_kind::compulsory)
      for (auto const& [first, one] : removed_) now_.erase(first);
    return failure(error::from_errno("follow", ENOMEM).of("map keeper"));
  }
  bool refuses = false;
  std::map<std::uint64_t, section> const& now() const { return now_; }

 private:
  commit_kind kind_ = commit_kind::refusable;
  std::map<std::uint64_t, section> now_;
  std::map<std::uint64_t, section> before_;
  std::map<std::uint64_t, section> removed_;
};
/// For `laws/memory_listener.hpp`.
struct keeper_subject {
  ram_block block = tether_test::must(ram_block::allocate("ram", 64 * KiB));
  map_keeper keeper{};

  map_keeper& listener() { return keeper; }
  std::map<std::uint64_t, section> state() const { return keeper.now(); }
  bool reaches(section const& one) const {
    const auto at = keeper.now().find(one.where.first.value);
    return at != keeper.now().end() && at->second == one;
  }
  void refuse_next_commit() { keeper.refuses = true; }
  section ram(std::uint64_t first, std::uint64_t pages) const {
    return {.where = extent<guest_address>::of(guest_address{first * 4096}, pages * 4096).value(),
            .memory = &block.backing(),
            .offset = block_offset{first * 4096},
            .name = "ram"};
  }
};

static_assert(proven_safe<container<vfio_type1, hold_for_each_group, by_twos, no_vanishing>>);

TEST_CASE("law: table_iommu is a backend") { laws::check_backend<rig>(); }

TEST_CASE("law: the hostile balloon finds no stale page behind table_iommu") {
  laws::struck all = laws::check_hostile_balloon<model, by_twos>(500);
  all.add(laws::check_hostile_balloon<model, hold_for_each_group, no_vanishing>(500));
  laws::print_figures("table_iommu", all);
}

TEST_CASE("law: lookup_in_a_map finds what is there") {
  laws::check_buffer_lookup<lookup_in_a_map>();
}

TEST_CASE("law: hold_for_each_group holds exactly while somebody may pin") {
  CHECK(laws::keeps_the_laws_of_inhibition<hold_for_each_group>);
}

TEST_CASE("law: by_twos tiles a section") {
  constexpr page_sizes sizes{4 * KiB | 2 * MiB};
  for (const std::uint64_t offset : {std::uint64_t{0}, 4 * KiB, 60 * KiB})
    for (const std::uint64_t bytes : {4 * KiB, 8 * KiB, 68 * KiB})
      laws::check_granularity<by_twos>(
          laws::cut_of(GiB + offset, 0x7f00'0000'0000 + offset, offset, bytes, sizes));
}

TEST_CASE("law: no_vanishing refuses RAM that no page can map, and nothing that is not RAM") {
  laws::check_edges<no_vanishing>();
}

TEST_CASE("law: a gate with one's own mutex never lets a discard run under a hold") {
  discard_gate<multi_threaded_with<counting_mutex>> gate;
  const auto traffic =
      laws::check_gate_under_threads(gate, hold_kind::any, discard_kind::uncoordinated, 1, 1, 200);
  CHECK(traffic.holds + traffic.given_up != 0);
}

TEST_CASE("law: map_keeper follows a memory map") { laws::check_memory_listener<keeper_subject>(); }

}  // namespace own
