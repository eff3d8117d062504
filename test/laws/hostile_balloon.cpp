// SPDX-License-Identifier: BSL-1.0
// The hostile balloon against the backends that really move bytes, groups and single devices, under
// every policy; and against wrong policies on real pins, which it must find.
#include <laws/hostile_balloon.hpp>

#include <support/passthrough.hpp>
#include <support/proof_seeds.hpp>
#include <support/skip.hpp>
#include <support/ungrouped.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace laws_hostile_balloon {

using namespace tether;
using namespace tether_test;

namespace {

/// Two groups that pin for good, and one that pins on demand.
constexpr std::array<std::array<const char*, 2>, 3> names{
    {{"nic", "disk"}, {"vgpu", "vdsa"}, {"gpu", "sound"}}};
constexpr pin_class pins_of(std::size_t group) {
  return group == 1 ? pin_class::pins_on_demand : pin_class::pins;
}

template <class Model>
struct in_groups : Model {
  static endpoint_group group(std::size_t n) {
    return {std::to_string(n), {{names[n][0], pins_of(n)}, {names[n][1], pins_of(n)}}};
  }
  static const char* device(std::size_t n, std::size_t m) { return names[n][m]; }
};
template <class Model>
struct alone : one_by_one<Model> {
  static lone_endpoint device(std::size_t n, std::size_t m) {
    return {names[n][m], std::to_string(n), pins_of(n)};
  }
};

/// Fewer would not meet every mistake. Where the kernel takes a second to unpin a page, a dozen
/// have to do.
std::uint64_t enough(std::uint64_t plain) {
  return unpins_slowly() ? 12 : std::max<std::uint64_t>(amount(plain), 200);
}

template <class Model>
laws::struck under_every_policy() {
  const std::uint64_t operations = enough(1'500);
  laws::struck all = laws::check_hostile_balloon<Model, inhibit_per_container>(operations);
  all.add(laws::check_hostile_balloon<Model, inhibit_per_group>(operations));
  all.add(laws::check_hostile_balloon<Model, inhibit_per_device>(operations));
  return all;
}
template <class Model, class Policy>
void must_be_found(std::string const& name) {
  if (unpins_slowly()) return skip_because("this kernel takes a second to unpin a page");
  laws::print_figures(name, laws::must_find_stale_pages<Model, Policy>(enough(500)));
}

/// Wrong policies that treat many like few and need no more after a close: others do not compile
/// (`tether[I11]`, `[I12]`).
struct holds_for_nobody {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts) noexcept { return 0; }
};

}  // namespace

TEST_CASE("hostile balloon: a device of software_iommu sees what the CPU sees") {
  laws::struck all = laws::check_hostile_balloon<in_groups<on_software>>(amount(4'000));
  all.add(laws::check_hostile_balloon<in_groups<on_software>, fixed_block<4 * KiB>>(amount(4'000)));
  laws::print_figures("software_iommu", all);
}
TEST_CASE("hostile balloon: a single device of a software_iommu sees what the CPU sees") {
  laws::print_figures("software_iommu, single devices",
                      laws::check_hostile_balloon<alone<on_software>>(amount(4'000)));
}
TEST_CASE(
    "hostile balloon: a device of io_uring_buffers sees what the CPU sees, under every policy") {
  laws::struck all = under_every_policy<in_groups<on_io_uring>>();
  all.add(
      laws::check_hostile_balloon<in_groups<on_io_uring>, inhibit_per_group, fixed_block<4 * KiB>>(
          enough(1'500)));
  laws::print_figures("io_uring_buffers", all);
}
TEST_CASE(
    "hostile balloon: a single device of io_uring_buffers sees what the CPU sees, under every "
    "policy") {
  laws::struck all = under_every_policy<alone<on_io_uring>>();
  all.add(laws::check_hostile_balloon<alone<on_io_uring>, inhibit_per_device, fixed_block<4 * KiB>>(
      enough(1'500)));
  laws::print_figures("io_uring_buffers, single devices", all);
}
TEST_CASE(
    "hostile balloon: a policy without a hold for a group that has no device yet is found, on real "
    "pins") {
  must_be_found<in_groups<on_io_uring>, seeds::forgets_what_has_no_device>("no provisional hold");
}
TEST_CASE(
    "hostile balloon: a policy that holds only until it is known who pins is found, on real pins") {
  must_be_found<alone<on_io_uring>, seeds::one_agreement_is_enough>(
      "single devices, no hold once it is known who pins");
}
TEST_CASE("hostile balloon: a policy that never holds is found, on real pins") {
  must_be_found<in_groups<on_io_uring>, holds_for_nobody>("no hold at all");
}

}  // namespace laws_hostile_balloon
