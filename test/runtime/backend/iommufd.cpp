// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/iommufd.hpp>

#include <support/fake_iommufd_kernel.hpp>
#include <support/fake_sysfs.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runtime_backend_iommufd {

using namespace tether;
using tether_test::fake_iommufd_kernel;
using tether_test::iommufd_bench;
using tether_test::must;
namespace abi = tether::detail::iommufd_uapi;

namespace {

using backend_type = iommufd_bench::backend_type;
using device_type = backend_type::device_type;
using requests = std::vector<unsigned long>;

extent<io_address> at(std::uint64_t first, std::uint64_t size) {
  return {io_address{first}, io_address{first + (size - 1)}};
}

/// All that a failure must leave alone.
struct seen {
  std::size_t descriptors;
  std::string kernel;
  std::vector<extent<io_address>> usable;
  std::uint64_t page_sizes;
  std::size_t shared;
  friend bool operator==(seen const&, seen const&) = default;
};
seen look(iommufd_bench const& b, backend_type const& iommu) {
  return {tether_test::open_descriptors(),
          b.machine.seen(),
          {iommu.usable_iova().begin(), iommu.usable_iova().end()},
          iommu.page_sizes().mask,
          b.context.shared().size()};
}

/// Lets `act` fail at every call in turn until none is left. Each time everything must be as
/// before. Answers how many failed.
template <class Act>
std::uint64_t sweep(iommufd_bench const& b, backend_type const& iommu, Act act) {
  const auto before = look(b, iommu);
  for (std::uint64_t n = 1; n < 100; ++n) {
    const injected_fault fault{n, EIO};
    const auto done = act();
    if (!fault.fired()) {
      CHECK(done);
      return n - 1;
    }
    INFO("call " << n);
    REQUIRE(!done);
    CHECK(!done.error().rollback_failed());
    const auto after = look(b, iommu);
    CHECK(after.kernel == before.kernel);
    REQUIRE(after == before);
  }
  FAIL("it never succeeds");
  return 0;
}

}  // namespace

TEST_CASE(
    "a container, its devices and its mappings are made with the calls that iommufd wants, in its "
    "order") {
  iommufd_bench b;
  b.machine.requests.clear();
  auto iommu = b.container();
  CHECK(b.machine.requests == requests{abi::allocate_ioas.number, abi::read_limits.number});
  b.machine.requests.clear();
  auto device = must(iommu.open(b.edu));
  CHECK(b.machine.requests.empty());
  CHECK(backend_type::kvm_file(device) == device.descriptor());
  must(iommu.bind(device));
  must(iommu.join(device));
  CHECK(b.machine.requests == requests{abi::bind_device.number, abi::allocate_page_table.number,
                                       abi::attach_device.number, abi::read_limits.number});
  b.machine.requests.clear();
  must(iommu.map(b.memory.at(0x10000, 0, 16 * KiB)));
  must(iommu.unmap(at(0x10000, 16 * KiB)));
  CHECK(b.machine.requests == requests{abi::map.number, abi::unmap.number});
  b.machine.requests.clear();
  must(iommu.leave(device));
  must(iommu.close(device));
  must(iommu.abandon());
  CHECK(b.machine.requests == requests{abi::detach_device.number, abi::destroy.number,
                                       abi::read_limits.number, abi::unmap.number,
                                       abi::destroy.number});
}

TEST_CASE(
    "devices whose IOMMUs are alike share page tables, others get their own, a mediated one takes "
    "the address space") {
  iommufd_bench b;
  auto iommu = b.container();
  auto first = b.joined(iommu, b.edu);
  auto alike = b.joined(iommu, b.nic);
  auto other = b.joined(iommu, b.gpu);
  auto mediated = b.joined(iommu, b.mtty);
  CHECK(first.state()->attachment.page_table != 0);
  CHECK(first.state()->attachment.page_table == alike.state()->attachment.page_table);
  CHECK(other.state()->attachment.page_table != 0);
  CHECK(other.state()->attachment.page_table != first.state()->attachment.page_table);
  CHECK(mediated.state()->attachment.page_table == 0);
  CHECK(b.machine.count(abi::allocate_page_table.number) == 2);
  // One that nobody uses any more is destroyed.
  must(iommu.leave(first));
  CHECK(b.machine.seen().find("table") != std::string::npos);
  must(iommu.leave(other));
  must(iommu.leave(alike));
  CHECK(b.machine.seen().find("table") == std::string::npos);
  must(iommu.leave(mediated));
}

TEST_CASE(
    "what is mapped is pinned for good exactly while a device has joined that is not mediated") {
  iommufd_bench b;
  auto iommu = b.container();
  CHECK_FALSE(iommu.pins_now());
  auto mediated = b.joined(iommu, b.mtty);
  CHECK_FALSE(iommu.pins_now());
  auto first = b.joined(iommu, b.edu);
  CHECK(iommu.pins_now());
  must(iommu.leave(first));
  CHECK_FALSE(iommu.pins_now());
  must(iommu.leave(mediated));
}

TEST_CASE("a kernel that allocates no page tables chooses them itself") {
  iommufd_bench b;
  b.machine.allocates_page_tables = false;
  auto iommu = b.container();
  auto device = b.joined(iommu, b.edu);
  auto other = b.joined(iommu, b.gpu);
  CHECK(device.state()->attachment.page_table == 0);
  must(iommu.map(b.memory.at(0, 0, 4 * KiB)));
  CHECK(b.machine.locked() == 4 * KiB);
  must(iommu.leave(device));
  must(iommu.leave(other));
  CHECK(b.machine.locked() == 0);
}

TEST_CASE(
    "what can be mapped is read again whenever a device joins or leaves, however many ranges there "
    "are") {
  iommufd_bench b;
  b.machine.devices.at("/dev/vfio/devices/vfio1").is.reserved.clear();
  for (std::uint64_t i = 1; i < 40; ++i)
    b.machine.devices.at("/dev/vfio/devices/vfio1").is.reserved.push_back(at(i * 0x100000, 0x1000));
  auto iommu = b.container();
  CHECK(iommu.page_sizes() == sizes_of_page_tables(fake_iommufd_kernel::page_size()));
  REQUIRE(iommu.usable_iova().size() == 1);
  CHECK(iommu.usable_iova().front().is_everything());
  CHECK(iommu.free_mappings() == ~std::uint64_t{0});
  auto device = b.joined(iommu, b.edu);
  REQUIRE(iommu.usable_iova().size() == 2);
  CHECK(iommu.usable_iova()[0] == extent<io_address>{io_address{0}, io_address{0xfedf'ffff}});
  auto many = b.joined(iommu, b.nic);
  CHECK(iommu.usable_iova().size() == 41);
  must(iommu.leave(many));
  CHECK(iommu.usable_iova().size() == 2);
  must(iommu.leave(device));
  CHECK(iommu.usable_iova().front().is_everything());
}

TEST_CASE(
    "ranges that are out of order, and limits that cannot be read, refuse a join and change "
    "nothing") {
  iommufd_bench b;
  auto iommu = b.container();
  auto device = b.bound(iommu, b.edu);
  const auto before = look(b, iommu);
  using ranges = tether_test::fake_iommufd::ranges;
  for (auto const& wrong :
       {ranges{}, ranges{at(0x2000, 0x1000), at(0, 0x1000)},
        ranges{at(0, 0x1000), at(0xfff, 0x1000)}, ranges{{io_address{5}, io_address{4}}}}) {
    b.machine.ranges_to_tell = wrong;
    const auto refused = iommu.join(device);
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::bad_descriptor));
    CHECK(!refused.error().rollback_failed());
    CHECK(look(b, iommu) == before);
  }
  b.machine.ranges_to_tell.reset();
  must(iommu.join(device));
}

TEST_CASE("a device whose join reveals a conflict is refused by name, and nothing changes") {
  iommufd_bench b;
  auto iommu = b.container();
  auto mediated = b.joined(iommu, b.mtty);
  auto device = b.bound(iommu, b.edu);
  const auto refused = [&](std::uint64_t iova, host_address host) {
    must(iommu.map({at(iova, 4 * KiB), host}));
    const auto before = look(b, iommu);
    const auto joined = iommu.join(device);
    REQUIRE(!joined);
    CHECK(joined.error().subject() == "0000:01:00.0");
    CHECK(!joined.error().rollback_failed());
    CHECK(look(b, iommu) == before);
    must(iommu.unmap(at(iova, 4 * KiB)));
    return joined.error();
  };
  // where its interrupts are
  CHECK(refused(0xfee0'0000, b.memory.host()).is(errc::outside_aperture));
  // beyond its IOMMU's reach
  CHECK(refused(0x100'0000'0000, b.memory.host()).is(errc::outside_aperture));
  CHECK(refused(0, host_address{0x1000}).is(errc::memory_gone));
  b.machine.lockable = 1;
  const auto too_much = refused(0, b.memory.host());
  CHECK(too_much.is_errno(ENOMEM));
  CHECK(too_much.sentence().find("this user pins") != std::string::npos);
  must(iommu.join(device));
  CHECK(iommu.join(device).error().is(errc::already_there));
}

TEST_CASE("each refusal of a mapping is told by its cause, and leaves nothing") {
  iommufd_bench b;
  auto iommu = b.container();
  auto device = b.joined(iommu, b.edu);
  b.machine.lockable = 12 * KiB;
  must(iommu.map(b.memory.at(0, 0, 8 * KiB)));
  const auto before = look(b, iommu);
  const auto why = [&](mapping const& what) {
    const auto answer = iommu.map(what);
    REQUIRE(!answer);
    CHECK(!answer.error().rollback_failed());
    CHECK(answer.error().has_extent());
    return answer.error();
  };
  CHECK(why(b.memory.at(0x1000, 0, 4 * KiB)).is(errc::overlaps));
  CHECK(why(b.memory.at(0xfee0'0000, 0, 4 * KiB)).is(errc::outside_aperture));
  CHECK(why(b.memory.at(0xfedf'f000, 0, 8 * KiB)).is(errc::outside_aperture));
  CHECK(why({extent<io_address>::everything(), host_address{0}}).is(errc::overlaps));
  CHECK(why(b.memory.at(0x8'0000, 0, 4 * KiB, access::none)).is(errc::access_denied));
  CHECK(why(b.memory.at(0x8'0001, 0, 4 * KiB)).is(errc::not_aligned));
  CHECK(why({{io_address{0x9000}, io_address{0x8000}}, b.memory.host()}).is(errc::invalid_extent));
  CHECK(why({at(0x8'0000, 8 * KiB), host_address{0xffff'ffff'ffff'f000}}).is(errc::invalid_extent));
  const auto too_much = why(b.memory.at(0x8'0000, 8 * KiB, 8 * KiB));
  CHECK(too_much.is_errno(ENOMEM));
  CHECK(too_much.sentence().find("all that this user pins, to ") != std::string::npos);
  CHECK(why({at(0x8'0000, 4 * KiB), host_address{0x1000}}).is(errc::memory_gone));
  auto bar = must(device.map_bar(0));
  CHECK(why({at(0x8'0000, 4 * KiB), host_address{b.machine.bars.begin()->first}, access::read_write,
             memory_kind::device})
            .is(errc::unsupported));
  CHECK(b.machine.seen().find("area 0 8191") != std::string::npos);
  CHECK(b.machine.areas() == 1);
  CHECK(b.context.shared().size() == before.shared);
}

TEST_CASE("an unmap that would cut a mapping or hit a hole never reaches the kernel") {
  iommufd_bench b;
  auto iommu = b.container();
  for (const std::uint64_t first : {0x1000U, 0x3000U, 0x4000U})
    must(iommu.map(b.memory.at(first, 0, first == 0x1000 ? 0x2000 : 0x1000)));
  b.machine.requests.clear();
  CHECK(iommu.unmap(at(0x1000, 0x1000)).error().is(errc::cuts_a_mapping));
  CHECK(iommu.unmap(at(0x2000, 0x2000)).error().is(errc::cuts_a_mapping));
  CHECK(iommu.unmap(at(0x4000, 0x2000)).error().is(errc::not_mapped));
  CHECK(iommu.unmap(at(0x8000, 0x1000)).error().is(errc::not_mapped));
  CHECK(iommu.unmap({io_address{0x4000}, io_address{0x3fff}}).error().is(errc::invalid_extent));
  CHECK(b.machine.requests.empty());
  must(iommu.unmap(at(0x1000, 0x4000)));
  CHECK(b.machine.requests == requests{abi::unmap.number});
  CHECK(b.machine.areas() == 0);
}

TEST_CASE(
    "an unmap that fails is stuck where something may be gone, and nothing is inferred from "
    "ENOENT") {
  iommufd_bench b;
  auto iommu = b.container();
  must(iommu.map(b.memory.at(0, 0, 4 * KiB)));
  must(iommu.map(b.memory.at(0x1000, 4 * KiB, 4 * KiB)));
  const auto failing = [&](extent<io_address> where, int number) {
    const injected_fault fault{1, number};
    return iommu.unmap(where).error();
  };
  CHECK(!failing(at(0, 0x1000), EIO).rollback_failed());
  CHECK(!failing(at(0, 0x1000), EDEADLK).rollback_failed());
  CHECK(failing(at(0, 0x2000), EIO).rollback_failed());
  CHECK(failing(extent<io_address>::everything(), EBUSY).rollback_failed());
  const auto absent = failing(at(0, 0x1000), ENOENT);
  CHECK(absent.is_errno(ENOENT));
  CHECK(absent.rollback_failed());
  // It stays recorded, so whoever tries again asks the kernel again.
  b.machine.unmaps_too_little = 4 * KiB;
  const auto less = iommu.unmap(at(0, 0x2000));
  REQUIRE(!less);
  CHECK(less.error().is(errc::byte_count_mismatch));
  CHECK(less.error().rollback_failed());
  CHECK(iommu.unmap(extent<io_address>::everything()).error().is(errc::byte_count_mismatch));
}

TEST_CASE(
    "everything is unmapped by one call, up to the last byte, and nothing is everything too") {
  iommufd_bench b;
  auto iommu = b.container();
  must(iommu.map(b.memory.at(0, 0, 4 * KiB)));
  must(iommu.map(b.memory.at(0x8000'0000'0000'0000, 4 * KiB, 4 * KiB)));
  must(iommu.map(b.memory.at(0xffff'ffff'ffff'f000, 8 * KiB, 4 * KiB)));
  b.machine.requests.clear();
  must(iommu.unmap(extent<io_address>::everything()));
  CHECK(b.machine.requests == requests{abi::unmap.number});
  CHECK(b.machine.areas() == 0);
  CHECK(b.context.shared().size() == 0);
  must(iommu.unmap(extent<io_address>::everything()));
  must(iommu.abandon());
  must(iommu.unmap(extent<io_address>::everything()));
}

TEST_CASE(
    "while a BAR is mapped its device neither leaves nor is quiet, and it is named; abandoning "
    "waits for it") {
  iommufd_bench b;
  const auto descriptors = tether_test::open_descriptors();
  auto iommu = b.container();
  auto device = b.joined(iommu, b.edu);
  auto company = b.joined(iommu, b.nic);
  must(iommu.map(b.memory.at(0x10000, 0, 16 * KiB)));
  std::optional bar{must(device.map_bar(0))};
  const auto before = look(b, iommu);
  for (auto const& refused :
       {iommu.leave(device), iommu.quiesce(), iommu.abandon(), iommu.close(device)}) {
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::still_in_use));
    CHECK(refused.error().subject() == "0000:01:00.0");
  }
  CHECK(look(b, iommu) == before);
  bar.reset();
  must(iommu.quiesce());
  CHECK(iommu.close(device).error().is(errc::still_in_use));  // it has joined
  must(iommu.abandon());
  CHECK(b.machine.areas() == 0);
  CHECK(b.machine.locked() == 0);
  CHECK(tether_test::open_descriptors() == descriptors);
  CHECK(iommu.leave(device).error().is(errc::stale_handle));
  CHECK(iommu.close(company).error().is(errc::stale_handle));
  CHECK(iommu.usable_iova().front().is_everything());
  must(iommu.abandon());
  auto again = b.joined(iommu, b.edu);
  must(iommu.map(b.memory.at(0x10000, 0, 16 * KiB)));
  CHECK(b.machine.locked() == 16 * KiB);
}

TEST_CASE("abandoning a container says what stands in the way, and goes on where it stopped") {
  iommufd_bench b;
  auto iommu = b.container();
  auto device = b.joined(iommu, b.edu);
  must(iommu.map(b.memory.at(0, 0, 4 * KiB)));
  // DETACH (closing does the same), DESTROY of the page table, UNMAP, DESTROY of the address space.
  for (const std::uint64_t n : {2U, 2U, 3U}) {
    const injected_fault fault{n == 2 && device.descriptor() < 0 ? 1 : n, EIO};
    const auto stands = iommu.abandon();
    REQUIRE(!stands);
    CHECK(stands.error().is_errno(EIO));
  }
  must(iommu.abandon());
  CHECK(b.machine.seen().find("space") == std::string::npos);
  CHECK(b.machine.locked() == 0);
}

TEST_CASE("a failure at any call of an operation on iommufd leaves everything as it was") {
  iommufd_bench b;
  std::optional<backend_type> iommu{b.container()};
  std::optional<device_type> first;
  const auto take = [](auto& into, auto outcome) -> result<void> {
    if (!outcome) return failure(outcome.error());
    into.emplace(std::move(*outcome));
    return {};
  };
  std::optional<backend_type> another;
  CHECK(sweep(b, *iommu, [&] {
          return take(another, backend_type::open(b.context, b.sysfs(), {.huge_pages = false}));
        }) == 3);
  CHECK(sweep(b, *iommu, [&] { return take(first, iommu->open(b.edu)); }) == 2);
  CHECK(sweep(b, *iommu, [&] { return iommu->bind(*first); }) == 1);
  CHECK(sweep(b, *iommu, [&] { return iommu->map(b.memory.at(0x10000, 0, 16 * KiB)); }) == 1);
  CHECK(sweep(b, *iommu, [&] { return iommu->join(*first); }) == 3);
  std::optional<device_type> second{b.bound(*iommu, b.gpu)};
  CHECK(sweep(b, *iommu, [&] { return iommu->join(*second); }) == 4);
  for (const std::uint64_t n : {1U, 2U, 3U}) {
    const auto before = look(b, *iommu);
    const injected_fault fault{n, EIO};
    const auto moved = another->replace(*iommu, *second);
    REQUIRE(!moved);
    CHECK(!moved.error().rollback_failed());
    CHECK(look(b, *iommu) == before);
  }
  {
    // it has moved, but the page table that served it is still there
    const injected_fault left_behind{4, EIO};
    CHECK(another->replace(*iommu, *second).error().rollback_failed());
    must(iommu->replace(*another, *second));
  }
  CHECK(b.machine.locked() == 16 * KiB);
  CHECK(sweep(b, *iommu, [&] { return iommu->unmap(at(0x10000, 16 * KiB)); }) == 1);
  for (const std::uint64_t n : {1U, 2U, 3U}) {
    // DETACH: still joined. DESTROY: stuck. The limits: the narrower ones go on.
    const injected_fault fault{n, EIO};
    auto left = iommu->leave(*first);
    CHECK(fault.fired());
    CHECK(left.has_value() == (n == 3));
    if (!left) CHECK(left.error().rollback_failed() == (n == 2));
    if (n == 2) {
      faulty_kernel::reset();
      must(iommu->join(*first));
      must(iommu->leave(*first));  // what was left goes now
      must(iommu->join(*first));
    }
  }
  CHECK(iommu->usable_iova().size() == 2);
}

TEST_CASE(
    "a page table that could not be destroyed is never given to another device, and goes with the "
    "next that is") {
  iommufd_bench b;
  auto iommu = b.container();
  auto first = b.joined(iommu, b.edu);
  const auto left_over = first.state()->attachment.page_table;
  {
    const injected_fault fault{2, EIO};
    CHECK(iommu.leave(first).error().rollback_failed());
  }
  auto second = b.joined(iommu, b.nic);
  CHECK(second.state()->attachment.page_table != left_over);
  must(iommu.leave(second));
  CHECK(b.machine.seen().find("table") == std::string::npos);
}

TEST_CASE("a rollback on iommufd that fails says that something was left behind") {
  iommufd_bench b;
  auto iommu = b.container();
  auto device = b.bound(iommu, b.edu);
  {
    // HWPT_ALLOC, ATTACH, the limits, then the rollback.
    const injected_fault limits_and_detach{3, EIO, false, 2};
    CHECK(iommu.join(device).error().rollback_failed());
  }
  must(iommu.leave(device));
  const injected_fault attach_and_destroy{2, EIO, false, 2};
  CHECK(iommu.join(device).error().rollback_failed());
}

TEST_CASE(
    "a device that is destroyed while it is joined has left; with a BAR mapped it stays until that "
    "is gone") {
  iommufd_bench b;
  auto iommu = b.container();
  std::optional device{b.joined(iommu, b.edu)};
  std::optional bar{must(device->map_bar(0))};
  device.reset();
  CHECK(iommu.quiesce().error().subject() == "0000:01:00.0");
  CHECK(iommu.abandon().error().is(errc::still_in_use));
  bar.reset();
  must(iommu.quiesce());
  must(iommu.abandon());
  CHECK(b.machine.seen().find("space") == std::string::npos);
}

TEST_CASE(
    "a container that is destroyed leaves nothing in a context that lives on, and moving one moves "
    "all of it") {
  iommufd_bench b;
  const auto before = b.machine.seen();
  std::optional<device_type> device;
  {
    auto made = b.container();
    device.emplace(b.joined(made, b.edu));
    auto iommu = std::move(made);
    must(iommu.map(b.memory.at(0, 0, 4 * KiB)));
    CHECK(b.machine.locked() == 4 * KiB);
    must(iommu.leave(*device));
    must(iommu.join(*device));
  }
  CHECK(b.machine.seen() == before);
  CHECK(b.context.shared().size() == 0);
  CHECK(device->close().error().is(errc::stale_handle));
}

TEST_CASE(
    "a mediated device pins on demand whatever its neighbours do; a name that its descriptor "
    "belies does not count") {
  iommufd_bench b;
  auto iommu = b.container();
  CHECK(iommu.classify(b.edu).value() == pin_class::pins);
  CHECK(iommu.classify(b.mtty).value() == pin_class::pins_on_demand);
  CHECK(b.mtty.group() == b.edu.group());
  CHECK(iommu.classify(vfio_cdev{"/dev/vfio/devices/vfio99", b.sysfs()}).value() ==
        pin_class::pins);
  const auto mediated = must(iommu.open(b.mtty));
  const auto real = must(iommu.open(b.edu));
  CHECK(iommu.classify(vfio_cdev::from_descriptor(mediated.descriptor(), "some-uuid", b.sysfs()))
            .value() == pin_class::pins_on_demand);
  CHECK(iommu.classify(vfio_cdev::from_descriptor(real.descriptor(), "some-uuid", b.sysfs()))
            .value() == pin_class::pins);
  CHECK(iommu.classify(vfio_cdev::from_descriptor(mediated.descriptor(), "0000:01:00.0", b.sysfs()))
            .value() == pin_class::pins);
  // Taken for one that pins, a mediated device joins all the same.
  auto taken =
      must(iommu.open(vfio_cdev::from_descriptor(mediated.descriptor(), "hearsay", b.sysfs())));
  must(iommu.bind(taken));
  must(iommu.join(taken));
}

TEST_CASE(
    "a device that cannot be opened or bound says why and what to do, and leaves nothing open") {
  iommufd_bench b;
  auto iommu = b.container();
  const auto before = look(b, iommu);
  const auto absent = iommu.open(vfio_cdev{"/dev/vfio/devices/vfio99", b.sysfs()});
  REQUIRE(!absent);
  CHECK(absent.error().sentence().find("driver_override") != std::string::npos);
  {
    const injected_fault no_right{1, EACCES};
    CHECK(iommu.open(b.edu).error().sentence().find("right to open") != std::string::npos);
  }
  {
    auto device = must(iommu.open(b.edu));
    CHECK(iommu.join(device).error().is(errc::stale_handle));
    CHECK(iommu.leave(device).error().is(errc::stale_handle));
    b.machine.devices.at("/dev/vfio/devices/vfio0").is.busy = true;
    const auto elsewhere = iommu.bind(device);
    REQUIRE(!elsewhere);
    CHECK(elsewhere.error().is_errno(EBUSY));
    CHECK(elsewhere.error().sentence().find("/dev/vfio") != std::string::npos);
    b.made.add("0000:01:00.7", "pci", "12", "snd_hda_intel");
    const auto in_the_way = iommu.bind(device);
    CHECK(in_the_way.error().is(errc::still_in_use));
    CHECK(in_the_way.error().blocker() == "0000:01:00.7 (snd_hda_intel)");
    b.machine.devices.at("/dev/vfio/devices/vfio0").is.busy = false;
    must(iommu.bind(device));
    CHECK(iommu.bind(device).error().is(errc::already_there));
    auto twice = must(
        iommu.open(vfio_cdev::from_descriptor(device.descriptor(), "0000:01:00.0", b.sysfs())));
    CHECK(iommu.bind(twice).error().is(errc::already_there));
    must(iommu.close(device));
    CHECK(iommu.bind(device).error().is(errc::stale_handle));
    CHECK(iommu.join(device).error().is(errc::stale_handle));
    CHECK(iommu.close(device).error().is(errc::stale_handle));
  }
  CHECK(look(b, iommu) == before);
}

TEST_CASE(
    "a device bound to one context joins no container of another, whose numbers mean other "
    "things") {
  iommufd_bench b;
  auto here = b.container();
  auto there = must(backend_type::open(must(iommufd_bench::context_type::open()), b.sysfs()));
  auto device = b.bound(here, b.edu);
  CHECK(there.join(device).error().is(errc::stale_handle));
  must(here.join(device));
  auto neighbour = b.container();
  CHECK(neighbour.leave(device).error().is(errc::stale_handle));
  CHECK(there.replace(here, device).error().is(errc::stale_handle));
  CHECK(neighbour.replace(there, device).error().is(errc::stale_handle));
}

TEST_CASE(
    "a device is moved to another container without a gap, unless its group would have to move "
    "with it") {
  iommufd_bench b;
  auto from = b.container();
  auto to = b.container();
  auto device = b.joined(from, b.edu);
  must(from.map(b.memory.at(0, 0, 4 * KiB)));
  must(to.map(b.memory.at(0, 4 * KiB, 4 * KiB)));
  auto const& wired = b.machine.devices.at("/dev/vfio/devices/vfio0");
  std::byte one{0x11};
  REQUIRE(b.machine.dma(wired, 0, &one, 1, true) == 0);
  b.machine.requests.clear();
  must(to.replace(from, device));
  CHECK(b.machine.count(abi::detach_device.number) == 0);
  one = std::byte{0x22};
  REQUIRE(b.machine.dma(wired, 0, &one, 1, true) == 0);
  CHECK(b.memory.bytes()[0] == std::byte{0x11});
  CHECK(b.memory.bytes()[4 * KiB] == std::byte{0x22});
  CHECK(from.usable_iova().front().is_everything());
  CHECK(to.usable_iova().size() == 2);
  CHECK(b.machine.locked() == 4 * KiB);
  CHECK(from.leave(device).error().is(errc::stale_handle));
  CHECK(to.replace(to, device).error().is(errc::already_there));
  auto mate = b.joined(to, b.mate);
  const auto together = from.replace(to, device);
  REQUIRE(!together);
  CHECK(together.error().is(errc::still_in_use));
  CHECK(together.error().subject() == "0000:01:00.0");
  CHECK(together.error().blocker() == "0000:01:00.1");
  must(to.leave(mate));
  must(from.replace(to, device));
  must(from.leave(device));
}

TEST_CASE("huge pages are turned off before anything is mapped, for one container only") {
  iommufd_bench b;
  auto small = must(backend_type::open(b.context, b.sysfs(), {.huge_pages = false}));
  auto usual = b.container();
  const auto in = b.machine.files.at(b.context.descriptor()).as_context;
  REQUIRE(in->spaces.size() == 2);
  CHECK(!in->spaces.begin()->second.huge_pages);
  CHECK(in->spaces.rbegin()->second.huge_pages);
}

TEST_CASE("what is no iommufd is refused as one") {
  iommufd_bench b;
  auto iommu = b.container();
  const auto device = b.bound(iommu, b.edu);
  const auto wrong = must(iommufd_bench::context_type::from_descriptor(device.descriptor()));
  const auto refused = backend_type::open(wrong, b.sysfs());
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::bad_descriptor));
}

TEST_CASE("a virtual function is bound with its token, and any other by the request of old") {
  iommufd_bench b;
  const auto right = must(vf_token::of("00112233-4455-6677-8899-aabbccddeeff"));
  const auto wrong = must(vf_token::of("00112233-4455-6677-8899-aabbccddee00"));
  b.machine.devices.at(b.edu.path()).is.token.assign(right.bytes().begin(), right.bytes().end());
  auto iommu = b.container();
  const auto why = [&](vfio_cdev const& named) {
    auto device = must(iommu.open(named));
    const auto bound = iommu.bind(device);
    REQUIRE(!bound);
    must(iommu.close(device));
    return bound.error();
  };
  CHECK(why(b.edu).is_errno(EACCES));
  CHECK(why(b.edu).sentence().find("vfio_cdev::with_token()") != std::string::npos);
  CHECK(why(b.edu.with_token(wrong)).is_errno(EACCES));
  CHECK(why(b.edu.with_token(wrong)).sentence().find("another VF token") != std::string::npos);
  CHECK(why(b.nic.with_token(right)).is_errno(EINVAL));
  b.machine.knows_tokens = false;
  CHECK(why(b.edu.with_token(right)).sentence().find("use vfio_type1") != std::string::npos);
  b.machine.knows_tokens = true;
  auto device = b.joined(iommu, b.edu.with_token(right));
  CHECK(device.name() == b.edu.name());
  auto neighbour = b.joined(iommu, b.nic);
  must(iommu.leave(neighbour));
  must(iommu.leave(device));
}

}  // namespace runtime_backend_iommufd
