// SPDX-License-Identifier: BSL-1.0
// The smallest backend there is, written as a user would, models the concept; take any part away
// and it does not.
#include <tether/backend/concepts.hpp>

#include <tether/backend/endpoint.hpp>
#include <tether/testing/recording.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace {

using namespace tether;

struct nameless {};
struct bus {
  [[nodiscard]] std::string_view name() const noexcept { return "bus"; }
};

struct smallest {
  static constexpr bool pins = true;
  static constexpr attach_unit unit = attach_unit::group;
  using group_type = bus;
  struct joined_group {};
  struct device_type {};

  result<void> map(mapping const&) noexcept { return {}; }
  result<void> unmap(extent<io_address>) noexcept { return {}; }
  tether::page_sizes page_sizes() const noexcept { return {}; }
  std::span<extent<io_address> const> usable_iova() const noexcept { return {}; }
  std::uint64_t free_mappings() const noexcept { return 0; }
  result<joined_group> join(bus const&) noexcept { return joined_group{}; }
  result<void> leave(joined_group&) noexcept { return {}; }
  result<pin_class> classify(joined_group&, std::string_view) noexcept { return pin_class::pins; }
  result<device_type> open(joined_group&, std::string_view) noexcept { return device_type{}; }
  result<void> close(device_type&) noexcept { return {}; }
  result<void> quiesce() noexcept { return {}; }
  result<void> abandon() noexcept { return {}; }
};
static_assert(backend<smallest>);
static_assert(backend<recording<smallest>>, "whatever is a backend can be watched");
static_assert(!has_kvm_file<smallest> && !maps_files<smallest>);

// The same of single devices. What attaches devices needs none of a group's calls, and the other
// way round.
struct endpoint : bus {
  std::string_view group() const noexcept { return "7"; }
};
struct smallest_of_devices : smallest {
  static constexpr attach_unit unit = attach_unit::device;
  using endpoint_type = endpoint;
  result<pin_class> classify(endpoint const&) noexcept { return pin_class::pins; }
  result<device_type> open(endpoint const&) noexcept { return device_type{}; }
  result<void> bind(device_type&) noexcept { return {}; }
  result<void> join(device_type&) noexcept { return {}; }
  result<void> leave(device_type&) noexcept { return {}; }
};
static_assert(backend<smallest_of_devices> && attaches_single_devices<smallest_of_devices> &&
              !attaches_groups<smallest_of_devices>);
static_assert(backend<recording<smallest_of_devices>>);
struct unbound : smallest {
  static constexpr attach_unit unit = attach_unit::device;
};
static_assert(!backend<unbound> && !attaches_devices<smallest>);

// Told to KVM and mapped by file: both optional, both passed on by a recording.
struct told : smallest_of_devices {
  using smallest::map;
  static int kvm_file(device_type const&) noexcept { return 3; }
  result<void> map(mapping const&, file_source) noexcept { return {}; }
};
static_assert(backend<told> && has_kvm_file<told> && maps_files<told> &&
              has_kvm_file<recording<told>> && maps_files<recording<told>>);
static_assert(!maps_files<recording<smallest>> && !has_kvm_file<recording<smallest>>);

// Finds what is to be attached by a name: optional, and passed on by a recording.
struct finding : smallest {
  result<device_in_group<bus>> locate(tether::endpoint const&) const noexcept {
    return device_in_group<bus>{};
  }
};
struct finding_devices : smallest_of_devices {
  result<endpoint_type> locate(tether::endpoint const&) const noexcept { return endpoint_type{}; }
};
struct finding_groups_alone : smallest {
  result<bus> locate(tether::endpoint const&) const noexcept { return bus{}; }
};
static_assert(locates_endpoints<finding> && locates_endpoints<recording<finding>>);
static_assert(locates_endpoints<finding_devices> && locates_endpoints<recording<finding_devices>>);
static_assert(!locates_endpoints<smallest> && !locates_endpoints<recording<smallest>>);
static_assert(!locates_endpoints<finding_groups_alone>);

// Rollback runs through map and unmap, so what throws is none.
struct throwing : smallest {
  result<void> unmap(extent<io_address>) { return {}; }
};
static_assert(!backend<throwing> && !maps_memory<throwing>);

struct silent : smallest {
  void map(mapping const&) noexcept {}
};
static_assert(!backend<silent>);

struct undeclared : smallest {
  static constexpr int pins = 1;
};
static_assert(!backend<undeclared> && !has_backend_traits<undeclared>);

struct without_groups : smallest {
  using group_type = nameless;
};
static_assert(!backend<without_groups> && !takes_groups<without_groups>);

struct with_immovable_devices : smallest {
  struct device_type {
    device_type() = default;
    device_type(device_type const&) = delete;
  };
};
static_assert(!backend<with_immovable_devices>);

struct never_quiet : smallest {
  void quiesce() noexcept = delete;
};
static_assert(!backend<never_quiet>);

struct clinging : smallest {
  bool abandon() noexcept { return true; }
};
static_assert(!backend<clinging> && !can_be_abandoned<clinging>);

// A device need not be a DMA engine: a real one moves bytes when its guest says so.
static_assert(!dma_engine<smallest::device_type>);

static_assert(named<bus> && !named<nameless>);

}  // namespace
