// SPDX-License-Identifier: BSL-1.0
// What lockstep compares: a container, what its kernel knows of it, and its place in the proof's
// world.
#pragma once

#include <support/lockstep_backend.hpp>
#include <support/lockstep_calls.hpp>
#include <support/lockstep_world.hpp>
#include <support/must.hpp>

#include <tether/attach/container.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/mapping.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/state.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace tether_test::lockstep {

/// A container to compare. `Granularity` decides the kind of hold, and how many maps a replay
/// makes.
template <bool Pins, tether::attach_unit Unit, bool TellsKvm, class Inhibition,
          class Granularity = tether::whole_section>
struct compared {
  using backend_type = iommu<Pins, Unit>;
  using kvm_type = std::conditional_t<TellsKvm, listening_kvm<Unit>, tether::no_kvm>;
  using container_type =
      tether::container<tether::recording<backend_type>, Inhibition, Granularity, kvm_type>;
  using abstraction = tether::proof::abstraction_of<container_type>;
  static constexpr tether::attach_unit unit = Unit;
  static constexpr bool pins = Pins;
  static constexpr bool tells = TellsKvm;
  static constexpr std::uint64_t block_size = Granularity::block_size;

  static kvm_type kvm(call_list& list) {
    if constexpr (TellsKvm) return {&list};
    else return {};
  }
};

/// Access to a container's private state. Its base is private and the members are protected; an
/// explicit conversion may go to a private base, and a class derived from that base may name its
/// members: so nothing has to be made public for tests.
template <class Container>
struct inside : tether::detail::operations_of<typename Container::backend_type,
                                              typename Container::policies> {
  using base =
      tether::detail::operations_of<typename Container::backend_type, typename Container::policies>;

  static auto const& groups(Container const& of) { return ((base const&)of).*&inside::groups_; }
  static std::uint32_t held(Container const& of) {
    return count(((base const&)of).*&inside::held_);
  }
  template <class Holder>
  static std::uint32_t count(Holder const& one) {
    if constexpr (requires { one.count(); }) return one.count();
    else return 0;
  }
};

/// Two sections of two pages each, for all containers. The first is read-only and of private
/// memory: a pin of it takes the page that is present, so it is populated whenever it is mapped,
/// and before anything more begins to pin.
class shared_guest {
 public:
  shared_guest() {
    static_cast<void>(must(space.place(tether::region::rom(low), tether::guest_address{0})));
    static_cast<void>(
        must(space.place(tether::region::ram(high), tether::guest_address{tether::MiB})));
  }
  [[nodiscard]] static layout cut(std::uint64_t block_size) {
    layout all;
    for (const std::uint64_t begin : {std::uint64_t{0}, std::uint64_t{tether::MiB}}) {
      const std::uint64_t piece = block_size == 0 ? size : block_size;
      all.emplace_back();
      for (std::uint64_t at = begin; at < begin + size; at += piece) {
        all.back().push_back({tether::io_address{at}, tether::io_address{at + piece - 1}});
      }
    }
    return all;
  }

 private:
  static constexpr std::uint64_t size = 8 * tether::KiB;
  tether::ram_block low =
      must(tether::ram_block::allocate<listening_memory>(listening_memory::name, size));
  tether::ram_block high =
      must(tether::ram_block::allocate("high", size, tether::memory_kind::shared));

 public:
  tether::address_space space;
};

/// The open devices of a container, in the order in which they were opened. The world knows only
/// their number.
struct open_device {
  std::size_t device;
  tether::consent agrees;
};
using open_devices = std::array<std::vector<open_device>, groups>;

/// Compares one container with the world. Each function answers the first difference, or null.
template <class Configuration, class Follower>
class comparison {
  using container_type = typename Configuration::container_type;
  static constexpr bool of_groups = Configuration::unit == tether::attach_unit::group;

 public:
  /// `last_device`: the one that the last operation was about; none of them if it was about none.
  comparison(container_type const& container, kernel_facts const& kernel, layout const& memory,
             Follower const& world, std::size_t which, open_devices const& open,
             std::size_t last_device)
      : container_{container},
        kernel_{kernel},
        memory_{memory},
        world_{world},
        which_{which},
        open_{open},
        last_device_{last_device} {}

  /// What the container keeps: divergence, counts, holds, groups and their devices; not the devices
  /// while an abandon is half done.
  [[nodiscard]] const char* counts(bool devices_too = true) const {
    using look = inside<container_type>;
    auto const& wanted = world_.container(which_);
    if (container_.diverged() != wanted.diverged) return "whether it has diverged";
    if (container_.membership() != wanted.counts()) return "the container's counts";
    if (look::held(container_) != wanted.held) return "the container's holds";
    std::size_t records = 0;
    for (std::size_t g = 0; g < groups; ++g) {
      tether::group_counts counts{};
      std::uint32_t held = 0;
      bool is_listed = false;
      std::size_t in_list = 0;
      for (auto const& record : look::groups(container_)) {
        if (record.name != name_of_group(which_, g)) continue;
        counts = record.counts;
        held = look::count(record.held);
        is_listed = true;
        in_list = record.devices.size();
        ++records;
      }
      if (counts != world_.group(which_, g).counts) return "a group's counts";
      if (held != world_.group(which_, g).held) return "a group's holds";
      if (is_listed != world_.listed(which_, g)) return "whether a group is in the list";
      const bool came_last =
          std::ranges::find(open_[g], last_device_, &open_device::device) == open_[g].end();
      // it diverged while it was attached
      const bool one_more = !of_groups && world_.diverged_at(which_, g) && came_last;
      if (devices_too && in_list != open_[g].size() + (one_more ? 1U : 0U))
        return "how many devices are in a group's list";
    }
    return records == look::groups(container_).size() ? nullptr
                                                      : "groups in the list that nobody attached";
  }

  /// What the kernel knows: memory, groups, devices, and that no call was forbidden.
  [[nodiscard]] const char* facts() const {
    if (kernel_.forbidden != 0) return "something was asked that a kernel must refuse";
    if (kernel_.dropped != 0) return "a handle was dropped in use";
    if (const char* differing = mapped()) return differing;
    for (std::size_t g = 0; g < groups; ++g) {
      auto const& wanted = world_.group(which_, g);
      group_facts const& real = kernel_.all[g];
      if (real.joined != wanted.joined) return "whether a group has joined";
      if (real.told != wanted.in_kvm) return "whether KVM knows a group";
      if (Configuration::tells && real.acquired != wanted.acquired)
        return "whether a group's descriptor is open";
      if (const char* differing = devices_of(g)) return differing;
    }
    return nullptr;
  }

 private:
  [[nodiscard]] const char* mapped() const {
    const bool wanted = world_.container(which_).page != tether::proof::page_relation::none;
    if (kernel_.mapped.empty() == wanted) return "whether memory is mapped";
    // some of it is mapped, unknown how much
    if (world_.container(which_).diverged) return nullptr;
    std::size_t pieces = 0;
    for (auto const& section : memory_) pieces += wanted ? section.size() : 0;
    return kernel_.mapped.size() == pieces && container_.usage().mappings == pieces
               ? nullptr
               : "how much is mapped";
  }
  [[nodiscard]] const char* devices_of(std::size_t g) const {
    const tether::proof::device_state at_hand = world_.container(which_).device;
    std::uint32_t users = 0;
    std::uint32_t consenting = 0;
    for (std::size_t d = 0; d < devices; ++d) {
      const auto place = std::ranges::find(open_[g], d, &open_device::device);
      device_facts wanted{};
      if (world_.diverged_at(which_, g) && d == last_device_) {
        wanted = {at_hand.open, at_hand.bound, at_hand.joined, at_hand.in_kvm};
      } else if (place != open_[g].end()) {
        wanted = {true, !of_groups, !of_groups, !of_groups && Configuration::tells};
        (place->agrees == tether::consent::given ? consenting : users) += 1;
      }
      device_facts seen = kernel_.all[g].of[d];
      seen.kept_by_kernel = false;
      if (seen != wanted) return "what the kernel has of a device";
    }
    return users == world_.group(which_, g).declining &&
                   consenting == world_.group(which_, g).consenting
               ? nullptr
               : "how many devices are open";
  }

  container_type const& container_;
  kernel_facts const& kernel_;
  layout const& memory_;
  Follower const& world_;
  std::size_t which_;
  open_devices const& open_;
  std::size_t last_device_;
};

}  // namespace tether_test::lockstep
