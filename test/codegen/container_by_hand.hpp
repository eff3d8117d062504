// SPDX-License-Identifier: BSL-1.0
// What one would write for one container that inhibits per group, or for one that pins nothing:
// each operation in one piece, each failure rolled back where it happens. The gate, the listener and
// what is published while it works are tether's on both sides.
#pragma once

#include <codegen/fake_iommu.hpp>

#include <tether/attach/detail/published.hpp>
#include <tether/attach/detail/records.hpp>
#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/detail/hold_entry.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/listen/detail/feed.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/listen/observation.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/detail/guarded_space.hpp>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace codegen {

struct nothing_held {
  explicit constexpr nothing_held(std::string_view) noexcept {}
  [[nodiscard]] static constexpr std::uint32_t count() noexcept { return 0; }
};

struct device_by_hand {
  device_by_hand(std::uint64_t number, std::string_view called, bool agreed)
      : id{number}, name{called}, agrees{agreed} {}
  std::uint64_t id;
  std::string name;
  bool agrees;
  std::optional<fake_device> device{};
  bool within_reach = true;
  std::int64_t since = 0;
};

template <bool Pins>
struct group_by_hand {
  group_by_hand(std::uint64_t number, std::string_view called)
      : id{number}, name{called}, held{called} {}
  std::uint64_t id;
  std::string name;
  std::uint32_t agreed = 0;
  std::uint32_t declined = 0;
  bool attached = false;
  bool consent_known = false;
  bool unplug_requested = false;
  bool unplug_answered = false;
  [[no_unique_address]] std::conditional_t<Pins, tether::detail::hold_entry, nothing_held> held;
  std::optional<fake_joined> joined{};
  std::list<device_by_hand> devices{};
  tether::detail::published_group published{};
  std::int64_t since = 0;
};

template <bool Pins, class Threading>
class container_by_hand {
  using error = tether::error;
  using errc = tether::errc;
  using mutex_type = typename Threading::mutex;
  using group = group_by_hand<Pins>;
  using backend_mutex = tether::detail::publishing_mutex<mutex_type, container_by_hand>;
  using listener_type =
      tether::dma_listener<fake_iommu<Pins>, tether::whole_section, tether::trim_edges,
                           tether::no_observation, backend_mutex, tether::detail::trusted_feed>;

 public:
  struct opened {
    container_by_hand* container;
    std::uint64_t group;
    std::uint64_t device;
    tether::result<void> close() noexcept { return container->close(group, device); }
  };
  struct attached {
    container_by_hand* container;
    std::uint64_t group;
    tether::result<opened> open(std::string_view name, tether::consent agrees) noexcept {
      return container->open(group, name, agrees);
    }
    tether::result<void> detach() noexcept { return container->detach(group); }
  };

  container_by_hand(tether::address_space& space, tether::discard_gate<Threading>& gate)
      : space_{space},
        gate_{gate},
        guarded_{space, gate.id()},
        mutex_{*this},
        listener_{backend_, mutex_} {
    publish();
  }
  void publish() noexcept {
    const std::span<tether::extent<tether::io_address> const> usable = backend_.usable_iova();
    std::lock_guard moment{records_};
    published_.usage = listener_.usage();
    published_.trimmed_bytes = listener_.trimmed_bytes();
    published_.diverged = listener_.diverged();
    published_.left_out_count = listener_.left_out_count();
    if (!published_.lists_equal(listener_.left_out_version(), usable)) [[unlikely]]
      published_.copy_lists([this](tether::left_out_copy& all) { listener_.update_left_out(all); },
                            listener_.left_out_version(), usable);
  }

  tether::result<attached> attach(fake_group const& description) noexcept {
    std::lock_guard operation{operation_};
    const std::string_view name = description.called;
    if (diverged()) return refuse_diverged("attach", name);
    if (!guarded_.usable()) [[unlikely]]
      return tether::failure(guarded_.usable().error().of(name));
    for (group const& one : groups_) {
      if (one.name == name) return tether::failure(error{"attach", errc::already_there}.of(name));
    }
    std::list<group> fresh;
    try {
      fresh.emplace_back(next_id_++, name);
    } catch (std::exception const&) {
      return tether::failure(
          error{"attach", std::make_error_code(std::errc::not_enough_memory)}.of(name));
    }
    group& mine = fresh.back();
    if (auto held = hold(mine); !held) return tether::failure(held.error());
    if (members_ != 0) {
      if (auto there = populate(); !there) [[unlikely]] {
        release(mine);
        return tether::failure(there.error());
      }
    }
    if (const int answer = join(description.number); answer != 0) [[unlikely]] {
      release(mine);
      return tether::failure(refusal("join", answer));
    }
    mine.joined = fake_joined{description.number};
    if (members_ == 0) {
      if (auto told = space_.add_listener(listener_); !told) [[unlikely]]
        return take_back(fresh, told.error());
    }
    mine.attached = true;
    members_ += 1;
    mine.since = std::time(nullptr);
    std::lock_guard moment{records_};
    show(mine);
    groups_.splice(groups_.end(), fresh);
    return attached{this, mine.id};
  }

  tether::result<void> detach(std::uint64_t id) noexcept {
    std::lock_guard operation{operation_};
    const auto mine = std::ranges::find(groups_, id, &group::id);
    if (mine == groups_.end()) return tether::failure(error{"detach", errc::stale_handle});
    if (diverged()) return refuse_diverged("detach", mine->name);
    while (!mine->devices.empty()) {
      if (auto closed = close_one(*mine, mine->devices.begin()); !closed) return closed;
    }
    if (members_ == 1) {
      if (const int answer = wait(); answer != 0) [[unlikely]]
        return tether::failure(refusal("quiesce", answer));
      if (auto gone = space_.remove_listener(listener_); !gone) [[unlikely]]
        return tether::failure(diverge(gone.error()));
    }
    if (const int answer = leave(mine->joined->number); answer != 0) [[unlikely]]
      return still_joined(refusal("leave", answer));
    members_ -= 1;
    settled_ -= mine->consent_known && mine->declined == 0 ? 1U : 0U;
    release(*mine);
    std::list<group> gone;
    std::lock_guard moment{records_};
    show(*mine);
    gone.splice(gone.end(), groups_, mine);
    return {};
  }

  tether::result<opened> open(std::uint64_t id, std::string_view name,
                              tether::consent agrees) noexcept {
    std::lock_guard operation{operation_};
    const auto mine = std::ranges::find(groups_, id, &group::id);
    if (mine == groups_.end())
      return tether::failure(error{"open device", errc::stale_handle}.of(name));
    if (diverged()) return refuse_diverged("open device", name);
    if (mine->unplug_requested)
      return tether::failure(error{"open device", errc::unplug_requested}.of(name));
    for (device_by_hand const& one : mine->devices) {
      if (one.name == name)
        return tether::failure(error{"open device", errc::already_there}.of(name));
    }
    std::list<device_by_hand> fresh;
    const bool agreed = agrees == tether::consent::given;
    try {
      fresh.emplace_back(next_id_++, name, agreed);
    } catch (std::exception const&) {
      return tether::failure(
          error{"open device", std::make_error_code(std::errc::not_enough_memory)}.of(name));
    }
    device_by_hand& device = fresh.back();
    const bool pins = codegen_classify(mine->joined->number, device.name.data()) == 0;
    if (agreed && pins) {
      return tether::failure(error{"open device", errc::consent_refused}
                                 .of(device.name)
                                 .advise("open it without agrees_to_discards"));
    }
    if constexpr (Pins) {
      if (agreed ? mine->declined != 0 : mine->agreed != 0) {
        return tether::failure(
            error{"open device", errc::mixed_group}
                .of(device.name)
                .advise("choose inhibit_per_device, or open all devices of the group alike"));
      }
      if (!agreed && mine->held.count() == 0) {
        if (auto held = hold(*mine); !held) return tether::failure(held.error());
      }
    }
    if (auto there = populate(); !there) [[unlikely]] {
      if (mine->consent_known && mine->declined == 0) release(*mine);
      return tether::failure(there.error());
    }
    const int answer = open_device(mine->joined->number, device.name.data());
    if (answer < 0) [[unlikely]] {
      if (mine->consent_known && mine->declined == 0) release(*mine);
      return tether::failure(refusal("open", -answer));
    }
    device.device = fake_device{answer};
    const bool was_settled = mine->consent_known && mine->declined == 0;
    if (agreed) {
      mine->agreed += 1;
      mine->consent_known = true;
    } else {
      mine->declined += 1;
    }
    const bool is_settled = mine->consent_known && mine->declined == 0;
    settled_ += static_cast<std::uint32_t>(is_settled) - static_cast<std::uint32_t>(was_settled);
    if (is_settled) release(*mine);
    const std::uint64_t number = device.id;
    device.since = std::time(nullptr);
    std::lock_guard moment{records_};
    show(*mine);
    mine->devices.splice(mine->devices.end(), fresh);
    return opened{this, id, number};
  }

  tether::result<void> close(std::uint64_t id, std::uint64_t device_id) noexcept {
    std::lock_guard operation{operation_};
    const auto mine = std::ranges::find(groups_, id, &group::id);
    if (mine == groups_.end()) return tether::failure(error{"close device", errc::stale_handle});
    const auto device = std::ranges::find(mine->devices, device_id, &device_by_hand::id);
    if (device == mine->devices.end())
      return tether::failure(error{"close device", errc::stale_handle});
    if (diverged()) return refuse_diverged("close device", device->name);
    return close_one(*mine, device);
  }

 private:
  void show(group& of) noexcept {
    published_.counts = {members_, settled_};
    of.published = {{of.agreed, of.declined, of.attached, of.consent_known}, of.held.count()};
  }
  tether::result<void> close_one(group& mine,
                                 typename std::list<device_by_hand>::iterator device) noexcept {
    {
      std::lock_guard moment{records_};
      device->within_reach = false;
    }
    if (const int answer = close_device(device->device->number); answer != 0) [[unlikely]] {
      std::lock_guard moment{records_};
      device->within_reach = true;
      return tether::failure(refusal("close", answer));
    }
    const bool was_settled = mine.consent_known && mine.declined == 0;
    (device->agrees ? mine.agreed : mine.declined) -= 1;
    const bool is_settled = mine.consent_known && mine.declined == 0;
    settled_ += static_cast<std::uint32_t>(is_settled) - static_cast<std::uint32_t>(was_settled);
    if (is_settled) release(mine);
    std::list<device_by_hand> gone;
    std::lock_guard moment{records_};
    show(mine);
    gone.splice(gone.end(), mine.devices, device);
    return {};
  }

  tether::result<void> hold([[maybe_unused]] group& mine) noexcept {
    if constexpr (Pins) return gate_.raise(mine.held, tether::hold_kind::any, 1);
    else return {};
  }
  void release([[maybe_unused]] group& mine) noexcept {
    if constexpr (Pins) {
      if (mine.held.count() != 0) gate_.lower(mine.held, mine.held.count());
    }
  }

  // Around everything that the backend is asked.
  int join(int number) noexcept {
    std::lock_guard turn{mutex_};
    return codegen_join(backend_.container, number);
  }
  int leave(int number) noexcept {
    std::lock_guard turn{mutex_};
    return codegen_leave(backend_.container, number);
  }
  int wait() noexcept {
    std::lock_guard turn{mutex_.quiet()};
    return codegen_wait(backend_.container);
  }
  int open_device(int number, char const* name) noexcept {
    std::lock_guard turn{mutex_.quiet()};
    return codegen_open(number, name);
  }
  int close_device(int number) noexcept {
    std::lock_guard turn{mutex_.quiet()};
    return codegen_close(number);
  }
  tether::result<void> populate() noexcept {
    if constexpr (Pins) {
      std::lock_guard turn{mutex_.quiet()};
      return listener_.populate_read_only();
    }
    return {};
  }
  bool diverged() const noexcept {
    std::lock_guard moment{records_};
    return published_.diverged;
  }

  // What goes wrong.
  [[gnu::cold]] static tl::unexpected<error> refuse_diverged(const char* what,
                                                             std::string_view name) noexcept {
    return tether::failure(error{what, errc::diverged}.of(name).advise("call abandon()"));
  }
  [[gnu::cold]] error diverge(error const& why) noexcept {
    std::lock_guard turn{mutex_};
    if (!listener_.diverged()) listener_.diverge(why);
    return why.with_failed_rollback();
  }
  [[gnu::cold]] tether::result<attached> take_back(std::list<group>& fresh,
                                                   error const& why) noexcept {
    group& mine = fresh.back();
    if (why.rollback_failed() || leave(mine.joined->number) != 0) {
      groups_.splice(groups_.end(), fresh);
      return tether::failure(diverge(why));
    }
    release(mine);
    return tether::failure(why);
  }
  [[gnu::cold]] tether::result<void> still_joined(error const& why) noexcept {
    if (members_ == 1 && !space_.add_listener(listener_)) return tether::failure(diverge(why));
    return tether::failure(why);
  }

  tether::label name_{};
  tether::address_space& space_;
  tether::discard_gate<Threading>& gate_;
  tether::detail::guarded_space guarded_;
  fake_iommu<Pins> backend_;
  [[no_unique_address]] mutable mutex_type operation_;
  mutable backend_mutex mutex_;
  [[no_unique_address]] mutable mutex_type records_;
  tether::detail::published published_;
  listener_type listener_;
  std::uint32_t members_ = 0;
  std::uint32_t settled_ = 0;
  std::list<group> groups_;
  std::uint64_t next_id_ = 1;
};

}  // namespace codegen
