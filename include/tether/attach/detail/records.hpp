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
#include <ctime>
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

/// Why nothing is done with a handle to what is not there any more. Its name went with it.
[[nodiscard, gnu::cold]] inline error stale(const char* operation) noexcept {
  return error{operation, errc::stale_handle}.advise(
      "it was closed or detached before: open or attach it again");
}

/// Replaces an entry where a policy counts no holds for that scope.
struct no_hold_entry {
  explicit constexpr no_hold_entry(std::string_view) noexcept {}
  [[nodiscard]] static constexpr std::uint32_t count() noexcept { return 0; }
};
template <bool Counts>
using hold_entry_if = std::conditional_t<Counts, hold_entry, no_hold_entry>;

/// Seconds since 1970, UTC.
[[nodiscard]] inline std::int64_t now_in_seconds() noexcept { return std::time(nullptr); }

/// A group's counts and holds as the last operation left them. Protected by the records' lock, as
/// those that operations work with are not.
struct published_group {
  group_counts counts{};
  std::uint32_t holds = 0;
};

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
  std::int64_t since = 0;    ///< when it was opened, for questions

  [[nodiscard]] error lease_in_the_way_of(const char* operation) const noexcept {
    return leases.in_the_way_of(operation, name);
  }
  /// The same, for an operation on `whole`, of which this is a part.
  [[nodiscard, gnu::cold, gnu::noinline]] error lease_in_the_way_of(
      const char* operation, std::string_view whole) const noexcept {
    return leases.in_the_way_of(operation, whole).blocked_by(name);
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
  bool goes_with_last_device = false;  ///< it came with its first one (`attach(endpoint)`)
  bool unplug_answered = false;        ///< a device of it has been closed since
  [[no_unique_address]] hold_entry_if<holds_for_a_group<Inhibition>> held;
  std::list<device_record<Backend>> devices{};
  published_group published{};
  std::int64_t since = 0;  ///< when it was attached, for questions

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
