// SPDX-License-Identifier: BSL-1.0
// The state behind `io_uring_buffers`: options, and mappings that take several slots.
#include <tether/backend/io_uring/pins.hpp>

#include <tether/backend/io_uring_buffers.hpp>

#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <linux/io_uring.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <tuple>
#include <type_traits>
#include <vector>

namespace runtime_backend_io_uring_pins {

using namespace tether;
using namespace tether::detail;
using tether_test::host_memory;
using tether_test::pinned_by_the_kernel;

namespace {

/// Linux as older ones are, where a slot's tag comes some time after the slot has been emptied:
/// here each comes with one wait. A wait can be made to fail.
struct late_tags_kernel : linux_kernel {
  struct emptied_slot {
    long ring;
    std::uint32_t slot;
  };
  static inline std::vector<emptied_slot> late;
  static inline int waits = 0;
  static inline int failing_waits = 0;

  template <class... Arguments>
  static answer call(long number, Arguments... arguments) noexcept {
    const std::tuple all{arguments...};
    if constexpr (std::is_same_v<std::tuple<Arguments...>, std::tuple<long, long, void*, long>>) {
      if (number == SYS_io_uring_register && std::get<1>(all) == IORING_REGISTER_BUFFERS_UPDATE) {
        const auto& change =
            *static_cast<io_uring_rsrc_update2 const*>(static_cast<void const*>(std::get<2>(all)));
        if (reinterpret_cast<iovec const*>(static_cast<std::uintptr_t>(change.data))->iov_len ==
            0) {
          late.push_back({std::get<0>(all), change.offset});
          return 1;
        }
      }
    }
    if constexpr (sizeof...(Arguments) == 6) {
      if (number == SYS_io_uring_enter && std::get<2>(all) > 0) {
        ++waits;
        if (failing_waits > 0) return --failing_waits, -EIO;
        if (!late.empty()) really_empty(late.front());
      }
    }
    return linux_kernel::call(number, arguments...);
  }

 private:
  static void really_empty(emptied_slot one) noexcept {
    iovec nothing{};
    std::uint64_t tag = 0;
    io_uring_rsrc_update2 change{};
    change.offset = one.slot;
    change.data = reinterpret_cast<std::uintptr_t>(&nothing);
    change.tags = reinterpret_cast<std::uintptr_t>(&tag);
    change.nr = 1;
    static_cast<void>(
        linux_kernel::call(SYS_io_uring_register, one.ring, long{IORING_REGISTER_BUFFERS_UPDATE},
                           static_cast<void*>(&change), static_cast<long>(sizeof change)));
    late.erase(late.begin());
  }
};

}  // namespace

TEST_CASE("an unmap waits for every tag, however late each comes") {
  auto opened = basic_io_uring_buffers<late_tags_kernel>::open(
      {.slots = 9, .bytes_per_slot = tether_test::host_page()});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto group = opened->join(endpoint_group{"g", {{"nic", pin_class::pins}}}).value();
  const auto page = tether_test::host_page();
  const host_memory memory{4 * page};
  const auto before = pinned_by_the_kernel();
  REQUIRE(opened->map(memory.at(0, 0, 4 * page)));
  late_tags_kernel::waits = 0;
  REQUIRE(opened->unmap({io_address{0}, io_address{4 * page - 1}}));
  CHECK(late_tags_kernel::waits == 4);
  CHECK(pinned_by_the_kernel() == before);
  CHECK(opened->pinned_bytes() == 0);
}

TEST_CASE(
    "an unmap that could not wait for the tags is stuck: its pages count as pinned and it can be "
    "repeated") {
  auto opened = basic_io_uring_buffers<late_tags_kernel>::open(
      {.slots = 9, .bytes_per_slot = tether_test::host_page()});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto group = opened->join(endpoint_group{"g", {{"nic", pin_class::pins}}}).value();
  const auto page = tether_test::host_page();
  const host_memory memory{4 * page};
  const auto before = pinned_by_the_kernel();
  const extent<io_address> all{io_address{0}, io_address{3 * page - 1}};
  REQUIRE(opened->map(memory.at(0, 0, 3 * page)));
  late_tags_kernel::failing_waits = 1;
  const auto answer = opened->unmap(all);
  REQUIRE(!answer);
  CHECK(answer.error().is_errno(EIO));
  CHECK(answer.error().rollback_failed());
  CHECK(pinned_by_the_kernel() == before + 3 * page);
  CHECK(opened->pinned_bytes() == 3 * page);
  CHECK(opened->free_mappings() == 5);
  REQUIRE(opened->unmap(all));
  CHECK(pinned_by_the_kernel() == before);
  CHECK(opened->pinned_bytes() == 0);
  CHECK(opened->free_mappings() == 8);
  // Gone with its tags still to come, a backend waits for them.
  REQUIRE(opened->map(memory.at(0, 0, 3 * page)));
  late_tags_kernel::failing_waits = 1;
  REQUIRE(!opened->unmap(all));
  opened = failure(error{"gone", errc::stale_handle});
  CHECK(pinned_by_the_kernel() == before);
}

TEST_CASE("io_uring options that no kernel takes are refused before one is asked") {
  const auto page = tether_test::host_page();
  for (io_uring_options const& wrong :
       {io_uring_options{.slots = 0}, io_uring_options{.slots = 1},
        io_uring_options{.slots = io_uring_most_slots + 1}, io_uring_options{.bytes_per_slot = 0},
        io_uring_options{.bytes_per_slot = page / 2},
        io_uring_options{.bytes_per_slot = 2 * GiB}}) {
    const auto opened = io_uring_buffers::open(wrong);
    REQUIRE(!opened);
    CHECK(opened.error().code() == std::make_error_code(std::errc::invalid_argument));
  }
}

TEST_CASE("a mapping larger than a slot takes several, which count, pin and carry DMA as one") {
  const auto page = tether_test::host_page();
  auto opened = io_uring_buffers::open({.slots = 9, .bytes_per_slot = 2 * page});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(endpoint_group{"g", {{"nic", pin_class::pins}}}).value();
  auto device = iommu.open(group, "nic").value();
  const host_memory memory{16 * page};
  const auto before = pinned_by_the_kernel();
  REQUIRE(iommu.free_mappings() == 8);
  REQUIRE(iommu.map(memory.at(0, 0, page)));
  REQUIRE(iommu.map(memory.at(page, page, 7 * page)));  // 2 + 2 + 2 + 1 pages
  CHECK(iommu.free_mappings() == 3);
  CHECK(iommu.pinned_bytes() == 8 * page);
  CHECK(pinned_by_the_kernel() - before == 8 * page);
  CHECK(iommu.map(memory.at(8 * page, 8 * page, 7 * page)).error().is(errc::over_budget));
  std::vector<std::byte> sent(8 * page);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i / 16 + i);
  REQUIRE(device.dma_write(io_address{0}, sent));
  CHECK(std::ranges::equal(memory.bytes().first(8 * page), sent));
  std::vector<std::byte> seen(3 * page);
  REQUIRE(device.dma_read(io_address{2 * page + 7}, seen));
  CHECK(std::ranges::equal(memory.bytes().subspan(2 * page + 7, 3 * page), seen));
  REQUIRE(iommu.unmap({io_address{page}, io_address{8 * page - 1}}));
  CHECK(iommu.free_mappings() == 7);
  CHECK(pinned_by_the_kernel() - before == page);
}

}  // namespace runtime_backend_io_uring_pins
