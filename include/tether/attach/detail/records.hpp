// SPDX-License-Identifier: BSL-1.0
// A container's records of its groups and devices. Ownership is nesting: a container owns its
// groups, a group its devices. Users have handles to them (`handles.hpp`), never these.
#pragma once

#include <tether/attach/lease.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/hold_entry.hpp>
#include <tether/inhibit/membership.hpp>

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tether::detail {

/// What a handle names: a group, and one of its devices or none.
struct handle_ids {
  std::uint64_t group = 0;
  std::uint64_t device = 0;
};

/// Replaces an entry where a policy counts no holds for that scope.
struct no_hold_entry {
  explicit constexpr no_hold_entry(std::string_view) noexcept {}
};
template <bool Counts>
using hold_entry_if = std::conditional_t<Counts, hold_entry, no_hold_entry>;

template <class Backend>
struct device_record {
  device_record(std::uint64_t number, std::string_view called, consent agreed)
      : id{number}, name{called}, agrees{agreed} {}

  std::uint64_t id;
  std::string name;
  consent agrees;
  std::optional<typename Backend::device_type> device{};
  lease_count leases{};
  bool within_reach = true;  ///< of handles: nobody is about to close it

  [[nodiscard]] error lease_in_the_way_of(const char* operation) const noexcept {
    return leases.in_the_way_of(operation, name);
  }
};

/// What a backend returned when a group joined; empty for a backend of single devices.
template <class Backend>
struct joined_part {};
template <class Backend>
  requires(Backend::unit == attach_unit::group)
struct joined_part<Backend> {
  std::optional<typename Backend::joined_group> joined{};
};

template <class Backend, class Inhibition>
struct group_record : joined_part<Backend> {
  group_record(std::uint64_t number, std::string_view called)
      : id{number}, name{called}, held{called} {}

  std::uint64_t id;
  std::string name;
  group_counts counts{};
  bool unplug_requested = false;
  [[no_unique_address]] hold_entry_if<holds_for_a_group<Inhibition>> held;
  std::list<device_record<Backend>> devices{};

  /// Its first device with an outstanding lease, or null.
  [[nodiscard]] device_record<Backend> const* leased() const noexcept {
    for (auto const& one : devices) {
      if (one.leases.out() != 0) [[unlikely]]
        return &one;
    }
    return nullptr;
  }
};

}  // namespace tether::detail
