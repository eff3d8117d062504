// SPDX-License-Identifier: BSL-1.0
// Compiled with TETHER_STD_EXPECTED: a result is a std::expected.
#include <tether/tether.hpp>

#include <array>
#include <cstddef>
#include <cstdio>
#include <expected>
#include <type_traits>
#include <utility>

/// Of the part without: where its `failure` is, and whether it works.
using any_function = void (*)();
any_function failure_of_the_plain_part() noexcept;
bool plain_part_works();

static_assert(std::is_same_v<tether::result<int>, std::expected<int, tether::error>>);

int main() {
  using namespace tether;
  auto ram = ram_block::allocate("ram", 2 * MiB);
  address_space guest;
  discard_gate<> gate;
  if (!ram || !guest.place(region::ram(*ram), guest_address{0})) return 1;
  container<software_iommu> dma{guest, gate};
  auto group = dma.attach(endpoint_group{"nics", {{"eth0", pin_class::pins}}});
  if (!group) return 2;
  std::expected<opened_device<container<software_iommu>>, error> eth0 = group->open("eth0");
  const std::array<std::byte, 1> sent{std::byte{42}};
  if (!eth0 || !(*eth0)->dma_write(io_address{4096}, sent) || ram->data()[4096] != sent[0])
    return 3;
  if (group->open("eth1").error().is(errc::no_such_device) == false) return 4;
  if (!plain_part_works()) return 5;
  if (reinterpret_cast<any_function>(&failure) == failure_of_the_plain_part()) {
    std::puts("both parts have one `failure`, which returns one of two types");
    return 6;
  }
}
