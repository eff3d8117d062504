// SPDX-License-Identifier: BSL-1.0
// What a container does with N sections, N groups or N devices: the same rows on every backend.
// `Machine` has the backend, and N of what it attaches.
#pragma once

#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/attach/container.hpp>
#include <tether/core/attachment.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/listen/progress.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

namespace tether_test::growth {

/// A guest of N regions, and a container that nothing is attached to yet.
template <class Machine, class... Policies>
struct machine_room {
  using container_type = tether::container<typename Machine::backend_type, Policies...>;
  static constexpr bool of_groups = Machine::backend_type::unit == tether::attach_unit::group;

  explicit machine_room(std::uint64_t regions, std::uint64_t sources = 1, std::uint64_t devices = 1)
      : machine{sources, devices}, windows{memory_of(regions)}, map{regions} {
    dma.emplace(map.space, gate, machine.make());
  }

  /// What lies where no IOMMU reaches: a window of another device, which is left out.
  tether::result<tether::region_id> plug_window(tether::transaction& change, std::uint64_t i) {
    return change.place(tether::region::ram_device(windows, tether::block_offset{i * page}, page),
                        tether::guest_address{(std::uint64_t{1} << 48U) + 2 * i * page});
  }
  void attach_all() {
    for (std::uint64_t i = 0; i != machine.sources(); ++i)
      attached.push_back(must(dma->attach(machine.source(i))));
  }
  void detach_all(bool last_first = false) {
    if (last_first) std::ranges::reverse(attached);
    for (auto& one : attached) must(one.detach());
    attached.clear();
  }

  Machine machine;
  tether::ram_block windows;
  guest map;
  tether::discard_gate<> gate;
  std::optional<container_type> dma;
  std::vector<typename container_type::attached> attached;
};

/// The map of N sections: attached to, detached from, torn down.
template <class Machine, class... Policies>
void attach_to_n(std::uint64_t n, meter& all) {
  machine_room<Machine, Policies...> room{n};
  room.map.plug_all();
  all.count([&] { room.attach_all(); });
  all.count([&] { room.detach_all(); });
  room.map.unplug_all();
}
template <class Machine>
void attach_to_n_watched(std::uint64_t n, meter& all) {
  machine_room<Machine> room{n};
  room.map.plug_all();
  all.count([&] {
    std::uint64_t pieces = 0;
    tether::monitored who{std::stop_token{}, [&](tether::mapping const&) noexcept { ++pieces; }};
    if constexpr (machine_room<Machine>::of_groups)
      room.attached.push_back(must(room.dma->attach(room.machine.source(0), who)));
    else
      room.attached.push_back(
          must(room.dma->attach(room.machine.source(0), tether::consent::none, who)));
    CHECK(pieces == n);
  });
  all.count([&] { room.detach_all(); });
}
template <class Machine>
void abandon_n(std::uint64_t n, meter& all) {
  machine_room<Machine> room{n};
  room.map.plug_all();
  room.attach_all();
  all.count([&] { must(room.dma->abandon()); });
}
template <class Machine>
void destroy_with_n(std::uint64_t n, meter& all) {
  machine_room<Machine> room{n};
  room.map.plug_all();
  room.attach_all();
  all.count([&] { room.dma.reset(); });
}

/// Some of N are plugged and unplugged while something is attached.
template <class Machine, class... Policies>
void hot_plug(std::uint64_t n, meter& all) {
  machine_room<Machine, Policies...> room{n};
  auto order = shuffled(n);
  {
    auto change = room.map.space.begin();
    for (const auto i : std::span{order}.subspan(16))
      room.map.ids[i] = must(change.place(room.map.one(i), room.map.place_of(i)));
    static_cast<void>(must(change.commit()));
  }
  room.attach_all();
  all.count([&] {
    for (const auto i : std::span{order}.first(16)) room.map.plug(i);
  });
  all.count([&] {
    for (const auto i : std::span{order}.first(16)) room.map.unplug(i);
  });
  room.detach_all();
}
/// The same, of windows that are left out, and the question which they are.
template <class Machine>
void hot_plug_windows(std::uint64_t n, meter& all) {
  machine_room<Machine> room{n};
  {
    auto change = room.map.space.begin();
    for (std::uint64_t i = 16; i != n; ++i) static_cast<void>(must(room.plug_window(change, i)));
    static_cast<void>(must(change.commit()));
  }
  room.attach_all();
  std::vector<tether::region_id> ids;
  all.count([&] {
    for (std::uint64_t i = 0; i != 16; ++i) {
      auto change = room.map.space.begin();
      ids.push_back(must(room.plug_window(change, i)));
      static_cast<void>(must(change.commit()));
    }
  });
  CHECK(room.dma->left_out().size() == n);
  all.count([&] {
    for (const auto id : ids) must(room.map.space.remove(id));
  });
  CHECK(room.dma->left_out().size() == n - 16);
  room.detach_all();
}
template <class Machine>
void windows_at_once(std::uint64_t n, meter& all) {
  machine_room<Machine> room{n};
  room.attach_all();
  std::vector<tether::region_id> ids;
  all.count([&] {
    auto change = room.map.space.begin();
    for (std::uint64_t i = 0; i != n; ++i) ids.push_back(must(room.plug_window(change, i)));
    static_cast<void>(must(change.commit()));
    CHECK(room.dma->left_out().size() == n);
  });
  all.count([&] {
    auto change = room.map.space.begin();
    for (const auto id : ids) must(change.remove(id));
    static_cast<void>(must(change.commit()));
    CHECK(room.dma->left_out().empty());
  });
  room.detach_all();
}

/// N groups, or single devices of groups of their own.
template <class Machine, class... Policies>
void attach_n(std::uint64_t n, meter& all) {
  machine_room<Machine, Policies...> room{2, n};
  room.map.plug_all();
  all.count([&] { room.attach_all(); });
  all.count([&] {
    std::size_t attached = 0;  // devices of one group are shown in it
    for (auto const& group : room.dma->status().groups)
      attached += machine_room<Machine>::of_groups ? 1 : group.devices.size();
    CHECK(attached == n);
  });
  all.count([&] { CHECK(room.dma->all_attached() == room.attached); });
  all.count([&] {
    for (auto& one : room.attached) must(one.request_unplug());
    for (auto& one : room.attached) must(one.cancel_unplug());
    for (auto& one : room.attached) CHECK_FALSE(one.name().view().empty());
  });
  all.count([&] { room.detach_all(); });
  if constexpr (!machine_room<Machine>::of_groups) return;
  room.attach_all();
  all.count([&] { room.detach_all(true); });
}
template <class Machine>
void abandon_with_n(std::uint64_t n, meter& all) {
  machine_room<Machine> room{2, n};
  room.map.plug_all();
  room.attach_all();
  all.count([&] { must(room.dma->abandon()); });
  room.attach_all();
  all.count([&] { room.dma.reset(); });
}
/// N devices of one group.
template <class Machine, class... Policies>
void open_n(std::uint64_t n, meter& all) {
  machine_room<Machine, Policies...> room{2, 1, n};
  room.map.plug_all();
  room.attach_all();
  std::vector<typename machine_room<Machine, Policies...>::container_type::opened> devices;
  all.count([&] {
    for (std::uint64_t i = 0; i != n; ++i)
      devices.push_back(must(room.attached[0].open(room.machine.device(i))));
  });
  all.count([&] {
    for (auto& one : devices) {
      const auto lease = must(one.lease());
      CHECK(one.get() != nullptr);
    }
  });
  all.count([&] {
    for (std::uint64_t i = 0; i != n; i += 2) must(devices[i].close());
  });
  all.count([&] {
    CHECK(room.dma->status().groups[0].devices.size() == n / 2);
    for (auto const& one : room.attached[0].devices()) CHECK_FALSE(one.name().view().empty());
  });
  all.count([&] { room.detach_all(); });
}
/// Each question, some times.
template <class Machine>
void ask_some_times(std::uint64_t n, meter& all) {
  machine_room<Machine> room{n};
  room.map.plug_all();
  room.attach_all();
  all.count([&] {
    for (int i = 0; i != 16; ++i) {
      CHECK(room.dma->usage().mappings == n);
      CHECK(room.dma->trimmed_bytes() == 0);
      CHECK(room.dma->membership().members == 1);
      CHECK(room.dma->status().pinned_bytes() <= n * page);
      CHECK(room.dma->name().empty());
      CHECK_FALSE(room.dma->diverged());
      CHECK(room.dma->left_out().empty());
      CHECK_FALSE(room.dma->usable_iova().empty());
      static_cast<void>(room.dma->backend());
      static_cast<void>(room.dma->observer());
      CHECK(room.dma->with_observer([](auto&) { return true; }));
    }
  });
  room.detach_all();
}

/// Of a container's members.
inline constexpr const char* few_members =
    "a group or device is found among the others one by one, by its number or its name: some forty "
    "steps a pair, beside thousands for each attach; a machine has dozens";

/// The rows for one backend.
template <class Machine>
struct container_rows {
  static constexpr row on_sections[]{
      {"attach to a map of N sections, and detach",
       "container::attach attached_group::detach attached_device::detach", promise::each,
       attach_to_n<Machine>},
      {"attach to a map of N sections, watched",
       "container::attach monitored::keep_going monitored::stop unmonitored::keep_going "
       "dma_listener::commit_monitored",
       promise::each, attach_to_n_watched<Machine>},
      {"abandon a container of N sections", "container::abandon", promise::each,
       abandon_n<Machine>},
      {"destroy a container of N sections", "container::~container", promise::each,
       destroy_with_n<Machine>},
      {"ask a container of N sections",
       "container::usage container::trimmed_bytes container::membership container::diverged "
       "container::left_out container::usable_iova container::backend container::observer "
       "container::status container::name dma_listener::left_out_count "
       "container::with_observer",
       promise::same, ask_some_times<Machine>, 64},
  };
  static constexpr row on_hot_plug[]{
      {"plug and unplug some sections of N", "", promise::same, hot_plug<Machine>, 1024},
      {"plug and unplug some windows of N that are left out",
       "container::left_out dma_listener::update_left_out left_out_list::update", promise::same,
       hot_plug_windows<Machine>, 1024},
      {"plug and unplug N windows that are left out at once", "container::left_out", promise::each,
       windows_at_once<Machine>},
  };
  static constexpr row on_members[]{
      {"attach and detach N",
       "container::attach attached_group::request_unplug attached_device::request_unplug "
       "attached_group::cancel_unplug attached_device::cancel_unplug attached_group::name "
       "attached_device::name container::all_attached "
       "attached_group::detach attached_device::detach",
       promise::square, attach_n<Machine>, 32, few_members},
      {"abandon, and destroy, with N attached", "container::abandon container::~container",
       promise::square, abandon_with_n<Machine>, 32, few_members},
  };
};

}  // namespace tether_test::growth
