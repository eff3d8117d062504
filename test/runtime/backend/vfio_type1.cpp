// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio_type1.hpp>

#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runtime_backend_vfio_type1 {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::must;

namespace {

using type1 = basic_vfio_type1<fake_vfio_kernel>;
using requests = std::vector<unsigned long>;

const vfio_group edu{"/dev/vfio/1"};
const vfio_group nic{"/dev/vfio/2"};
const vfio_group mtty{"/dev/vfio/3"};

/// Three groups: two that pin, with different IOMMUs behind them, and a mediated one.
tether_test::fake_vfio& anew() {
  auto& machine = fake_vfio_kernel::start_anew();
  machine.groups["/dev/vfio/1"].is = {};
  machine.groups["/dev/vfio/2"].is = {.devices = {"0000:02:00.0"},
                                      .page_sizes = 0x1000,
                                      .usable = {{io_address{0x1000}, io_address{0xffff'ffff}}}};
  machine.groups["/dev/vfio/3"].is = {.devices = {"uuid"}, .pins = false};
  return machine;
}

extent<io_address> at(std::uint64_t first, std::uint64_t size) {
  return {io_address{first}, io_address{first + (size - 1)}};
}

/// All that a failure must leave alone.
struct seen {
  std::size_t descriptors;
  std::vector<std::pair<std::uint64_t, tether_test::fake_vfio::entry>> mapped;
  std::vector<extent<io_address>> usable;
  std::uint64_t page_sizes;
  std::vector<bool> open;
  friend bool operator==(seen const&, seen const&) = default;
};
seen look(type1 const& iommu) {
  seen all{tether_test::open_descriptors(),
           fake_vfio_kernel::machine().mapped(),
           {},
           iommu.page_sizes().mask,
           {}};
  all.usable.assign(iommu.usable_iova().begin(), iommu.usable_iova().end());
  for (auto const& [path, group] : fake_vfio_kernel::machine().groups)
    all.open.push_back(group.open);
  return all;
}

/// Lets `act` fail at every call in turn until none is left. Each time everything must be as
/// before. Answers how many failed.
template <class Act>
std::uint64_t sweep(type1& iommu, Act act) {
  const auto before = look(iommu);
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
    CHECK(look(iommu) == before);
  }
  FAIL("it never succeeds");
  return 0;
}

}  // namespace

TEST_CASE("a container is made with the calls that VFIO wants, in its order") {
  auto& machine = anew();
  type1 iommu;
  auto group = must(iommu.join(edu));
  CHECK(machine.requests == requests{VFIO_GROUP_GET_STATUS, VFIO_GET_API_VERSION,
                                     VFIO_CHECK_EXTENSION, VFIO_GROUP_SET_CONTAINER, VFIO_SET_IOMMU,
                                     VFIO_IOMMU_GET_INFO});
  machine.requests.clear();
  auto second = must(iommu.join(nic));
  CHECK(machine.requests ==
        requests{VFIO_GROUP_GET_STATUS, VFIO_GROUP_SET_CONTAINER, VFIO_IOMMU_GET_INFO});
  tether_test::host_memory memory{16 * KiB};
  machine.requests.clear();
  const std::uint64_t room = iommu.free_mappings();  // was told with the limits
  must(iommu.map(memory.at(0x10000, 0, 16 * KiB)));
  CHECK(machine.requests == requests{VFIO_IOMMU_MAP_DMA});
  CHECK(iommu.free_mappings() == room - 1);
  must(iommu.unmap(at(0x10000, 16 * KiB)));
  CHECK(iommu.free_mappings() == room);
  CHECK(machine.requests == requests{VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_GET_INFO, VFIO_IOMMU_UNMAP_DMA,
                                     VFIO_IOMMU_GET_INFO});
  must(iommu.leave(second));
  must(iommu.leave(group));
  CHECK(iommu.kvm_file(group) >= 0);  // KVM may have to drop it now
  second.reset();
  group.reset();
  CHECK(machine.files.empty());
}

TEST_CASE("what can be mapped is read again whenever a group joins or leaves") {
  anew();
  type1 iommu;
  CHECK(iommu.page_sizes().mask == fake_vfio_kernel::page_size());
  CHECK(iommu.usable_iova().size() == 1);
  CHECK(iommu.usable_iova().front().is_everything());
  auto mediated = must(iommu.join(mtty));
  CHECK(iommu.usable_iova().front().is_everything());
  CHECK(iommu.page_sizes().smallest() == fake_vfio_kernel::page_size());
  auto first = must(iommu.join(edu));
  CHECK(iommu.page_sizes().mask == 0x4020'1000);
  CHECK(iommu.usable_iova().size() == 2);
  auto second = must(iommu.join(nic));
  CHECK(iommu.page_sizes().mask == 0x1000);
  CHECK(iommu.usable_iova()[0] == extent<io_address>{io_address{0x1000}, io_address{0xfedf'ffff}});
  must(iommu.leave(first));
  CHECK(iommu.usable_iova().size() == 1);
  CHECK(iommu.usable_iova()[0] == extent<io_address>{io_address{0x1000}, io_address{0xffff'ffff}});
  must(iommu.leave(second));
  CHECK(iommu.usable_iova().front().is_everything());
  must(iommu.leave(mediated));
  CHECK(iommu.page_sizes().mask == fake_vfio_kernel::page_size());
}

TEST_CASE(
    "what is mapped is pinned for good exactly while a group is there that an IOMMU stands "
    "behind") {
  anew();
  tether_test::fake_sysfs sysfs;
  sysfs.add("0000:01:00.0", "pci", "1", "vfio-pci");
  sysfs.add("uuid", "mdev", "3");
  type1 iommu{vfio_sysfs{sysfs.root()}};
  CHECK_FALSE(iommu.pins_now());
  auto mediated = must(iommu.join(mtty));
  CHECK_FALSE(iommu.pins_now());
  auto first = must(iommu.join(edu));
  CHECK(iommu.pins_now());
  must(iommu.leave(mediated));
  CHECK(iommu.pins_now());
  must(iommu.leave(first));
  CHECK_FALSE(iommu.pins_now());
}

TEST_CASE("a join that reveals a conflict is a named error, and changes nothing") {
  auto& machine = anew();
  tether_test::fake_sysfs sysfs;
  sysfs.add("uuid", "mdev", "3");
  type1 iommu{vfio_sysfs{sysfs.root()}};
  auto mediated = must(iommu.join(mtty));
  tether_test::host_memory memory{16 * KiB};
  must(iommu.map(memory.at(0xfee0'0000, 0, 4 * KiB)));  // where the others have their interrupts
  const auto before = look(iommu);
  const auto refused = iommu.join(edu);
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::outside_aperture));
  CHECK(refused.error().subject() == "/dev/vfio/1");
  CHECK(look(iommu) == before);
  must(iommu.unmap(at(0xfee0'0000, 4 * KiB)));
  machine.lockable = 4 * KiB;
  must(iommu.map(memory.at(0x10000, 0, 16 * KiB)));
  const auto too_much = iommu.join(edu);
  REQUIRE(!too_much);
  CHECK(too_much.error().is_errno(ENOMEM));
  CHECK(too_much.error().sentence().find("ulimit -l") != std::string::npos);
  machine.lockable = 16 * KiB;
  CHECK(iommu.join(edu));
}

TEST_CASE("a join beyond the IOMMU's reach is one error whatever the kernel calls it") {
  auto& machine = anew();
  type1 iommu;
  auto company = must(iommu.join(mtty));
  const auto before = look(iommu);
  for (const int why : {EINVAL, EFAULT, ERANGE}) {  // ERANGE: Linux 7
    CAPTURE(why);
    machine.refusals = {{VFIO_GROUP_SET_CONTAINER, why}};
    const auto refused = iommu.join(edu);
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::outside_aperture));
    CHECK(look(iommu) == before);
  }
}

TEST_CASE("an attach while a device of the group is being reset is to be tried again") {
  auto& machine = anew();
  for (const bool first : {true, false}) {
    CAPTURE(first);
    type1 iommu;
    type1::joined_group company;
    if (!first) company = must(iommu.join(mtty));
    const auto before = look(iommu);
    machine.refusals = {{first ? VFIO_SET_IOMMU : VFIO_GROUP_SET_CONTAINER, EBUSY}};
    const auto refused = iommu.join(edu);
    REQUIRE(!refused);
    CHECK(refused.error().is_errno(EBUSY));
    CHECK(refused.error().sentence().find("being reset: try again") != std::string::npos);
    CHECK(look(iommu) == before);
    machine.refusals.clear();
    auto group = must(iommu.join(edu));
    must(iommu.leave(group));
    if (!first) must(iommu.leave(company));
  }
}

TEST_CASE("each refusal of a mapping is told by its cause") {
  auto& machine = anew();
  tether_test::host_memory memory{16 * KiB};
  type1 iommu;
  auto group = must(iommu.join(edu));
  machine.lockable = 12 * KiB;
  must(iommu.map(memory.at(0, 0, 8 * KiB)));
  const auto before = look(iommu);
  const auto why = [&](mapping const& what) {
    const auto answer = iommu.map(what);
    REQUIRE(!answer);
    CHECK(!answer.error().rollback_failed());
    CHECK(answer.error().has_extent());
    return answer.error();
  };
  CHECK(why(memory.at(0x1000, 0, 4 * KiB)).is(errc::overlaps));
  CHECK(why(memory.at(0xfee0'0000, 0, 4 * KiB)).is(errc::outside_aperture));
  CHECK(why(memory.at(0xfedf'f000, 0, 8 * KiB)).is(errc::outside_aperture));
  CHECK(why(memory.at(0x8'0000, 0, 4 * KiB, access::none)).is(errc::access_denied));
  CHECK(why(memory.at(0x8'0001, 0, 4 * KiB)).is(errc::not_aligned));
  CHECK(why({{io_address{0x9000}, io_address{0x8000}}, memory.host()}).is(errc::invalid_extent));
  CHECK(why({at(0x8'0000, 8 * KiB), host_address{0xffff'ffff'ffff'f000}}).is(errc::invalid_extent));
  const auto too_much = why(memory.at(0x8'0000, 8 * KiB, 8 * KiB));
  CHECK(too_much.is_errno(ENOMEM));
  CHECK(too_much.sentence().find("(ulimit -l) to 16 KiB") != std::string::npos);
  CHECK(why({at(0x8'0000, 4 * KiB), host_address{0x1000}}).is(errc::memory_gone));
  machine.entry_limit = 1;
  CHECK(why(memory.at(0x8'0000, 0, 4 * KiB)).is(errc::over_budget));
  CHECK(look(iommu) == before);
}

TEST_CASE("an unmap that removes another number of bytes than asked is never taken for done") {
  auto& machine = anew();
  type1 iommu;
  auto group = must(iommu.join(edu));
  tether_test::host_memory memory{16 * KiB};
  must(iommu.map(memory.at(0, 0, 8 * KiB)));
  machine.unmaps_too_little = 4 * KiB;
  const auto less = iommu.unmap(at(0, 8 * KiB));
  REQUIRE(!less);
  CHECK(less.error().is(errc::byte_count_mismatch));
  CHECK(less.error().rollback_failed());
  machine.unmaps_too_little = 0;
  CHECK(iommu.unmap(at(0, 8 * KiB)).error().is(errc::byte_count_mismatch));  // a hole
  must(iommu.map(memory.at(0, 0, 8 * KiB)));
  const auto cut = iommu.unmap(at(0, 4 * KiB));
  REQUIRE(!cut);
  CHECK(cut.error().is_errno(EINVAL));
  CHECK(!cut.error().rollback_failed());
  CHECK(machine.mapped().size() == 1);
}

TEST_CASE("everything is unmapped by one call where the kernel has it, else in two halves") {
  auto& machine = anew();
  machine.groups["/dev/vfio/1"].is.usable = {extent<io_address>::everything()};
  type1 iommu;
  auto group = must(iommu.join(edu));
  tether_test::host_memory memory{16 * KiB};
  for (const bool at_once : {true, false}) {
    machine.unmap_all = at_once;
    must(iommu.map(memory.at(0, 0, 4 * KiB)));
    must(iommu.map(memory.at(0x8000'0000'0000'0000, 4 * KiB, 4 * KiB)));
    must(iommu.map(memory.at(0xffff'ffff'ffff'f000, 8 * KiB, 4 * KiB)));
    machine.requests.clear();
    must(iommu.unmap(extent<io_address>::everything()));
    CHECK(machine.mapped().empty());
    CHECK(std::ranges::count(machine.requests, static_cast<unsigned long>(VFIO_IOMMU_UNMAP_DMA)) ==
          (at_once ? 1 : 2));
  }
}

TEST_CASE(
    "free mappings are the kernel's own count, and the module's limit where it does not tell") {
  auto& machine = anew();
  tether_test::fake_sysfs made;
  made.set_mapping_limit(40);
  type1 iommu{vfio_sysfs{made.root()}};
  CHECK(iommu.free_mappings() == 40);
  machine.entry_limit = 4;
  auto group = must(iommu.join(edu));
  CHECK(iommu.free_mappings() == 4);
  tether_test::host_memory memory{16 * KiB};
  must(iommu.map(memory.at(0, 0, 4 * KiB)));
  CHECK(iommu.free_mappings() == 3);
  machine.tells_available = false;
  CHECK(iommu.free_mappings() == 40);
  machine.info_to_tell.assign(24, std::byte{0xff});
  CHECK(iommu.free_mappings() == 40);  // it could not be asked: each map is judged by the kernel
}

TEST_CASE("a kernel without type1v2, or of another API, is refused") {
  auto& machine = anew();
  type1 iommu;
  const auto before = look(iommu);
  machine.type1v2 = false;
  CHECK(iommu.join(edu).error().is(errc::unsupported));
  machine.type1v2 = true;
  machine.api_version = 1;
  CHECK(iommu.join(edu).error().is(errc::unsupported));
  machine.api_version = VFIO_API_VERSION;
  machine.set_iommu_errno = EPERM;
  const auto unsafe = iommu.join(edu);
  REQUIRE(!unsafe);
  CHECK(unsafe.error().sentence().find("allow_unsafe_interrupts") != std::string::npos);
  machine.set_iommu_errno = 0;
  machine.info_to_tell.assign(64, std::byte{0xff});
  CHECK(iommu.join(edu).error().is(errc::bad_descriptor));
  machine.info_to_tell.clear();
  CHECK(look(iommu) == before);
  CHECK(iommu.join(edu));
}

TEST_CASE(
    "a group with an open device or a mapped BAR stays, by name, and can be abandoned when both "
    "are gone") {
  auto& machine = anew();
  const auto descriptors = tether_test::open_descriptors();
  type1 iommu;
  auto group = must(iommu.join(edu));
  auto company = must(iommu.join(nic));
  tether_test::host_memory memory{16 * KiB};
  must(iommu.map(memory.at(0x10000, 0, 16 * KiB)));
  auto device = must(iommu.open(group, "0000:01:00.0"));
  for (const char* what : {"device", "BAR"}) {
    INFO(what);
    std::uint64_t bar = 0;
    if (std::string_view{what} == "BAR") {
      bar = static_cast<std::uint64_t>(
          fake_vfio_kernel::mmap(4096, PROT_READ, MAP_SHARED, device.descriptor(), 0));
      must(iommu.close(device));
    }
    for (auto const& refused : {iommu.leave(group), iommu.abandon()}) {
      REQUIRE(!refused);
      CHECK(refused.error().is(errc::still_in_use));
      CHECK(refused.error().subject() == "/dev/vfio/1");
    }
    CHECK(machine.mapped().size() == 1);
    if (bar != 0) CHECK(fake_vfio_kernel::munmap(bar, 4096) == 0);
  }
  must(iommu.abandon());
  CHECK(machine.files.empty());
  CHECK(tether_test::open_descriptors() == descriptors);
  CHECK(iommu.leave(group).error().is(errc::stale_handle));
  CHECK(iommu.leave(company).error().is(errc::stale_handle));
  CHECK(iommu.usable_iova().front().is_everything());
  must(iommu.abandon());
  CHECK(iommu.join(edu));
}

TEST_CASE("a failure at any call of an operation leaves everything as it was") {
  auto& machine = anew();
  tether_test::host_memory memory{16 * KiB};
  type1 iommu;
  type1::joined_group first;
  type1::joined_group second;
  std::vector<type1::device_type> devices;
  const auto take = [](auto& into, auto outcome) -> result<void> {
    if (!outcome) return failure(outcome.error());
    into = std::move(*outcome);
    return {};
  };
  CHECK(sweep(iommu, [&] { return take(first, iommu.join(edu)); }) == 9);
  CHECK(sweep(iommu, [&] { return iommu.map(memory.at(0x10000, 0, 16 * KiB)); }) == 1);
  CHECK(sweep(iommu, [&] { return take(second, iommu.join(nic)); }) == 5);
  CHECK(sweep(iommu, [&] {
          auto opened = iommu.open(first, "0000:01:00.0");
          if (!opened) return result<void>{failure(opened.error())};
          devices.push_back(std::move(*opened));
          return result<void>{};
        }) == 1);
  must(iommu.close(devices.front()));
  CHECK(sweep(iommu, [&] { return iommu.unmap(at(0x10000, 16 * KiB)); }) == 1);
  CHECK(machine.mapped().empty());
}

TEST_CASE(
    "a group whose container's limits cannot be read does not stay in it, although its handle "
    "lives on") {
  auto& machine = anew();
  type1 iommu;
  auto company = must(iommu.join(mtty));
  tether_test::host_memory memory{16 * KiB};
  must(iommu.map(memory.at(0x10000, 0, 16 * KiB)));
  for (const bool first : {false, true}) {
    CAPTURE(first);
    type1 alone;
    type1& into = first ? alone : iommu;
    auto acquired = must(into.acquire(edu));
    const auto before = look(into);
    machine.requests.clear();
    {
      // SET_CONTAINER and GET_INFO; where it is the first, opening the container, asking it twice
      // and SET_IOMMU as well.
      const injected_fault no_info{first ? 6U : 2U, EIO};
      const auto refused = into.join(acquired);
      REQUIRE(!refused);
      CHECK(no_info.fired());
      CHECK(refused.error().is_errno(EIO));
      CHECK_FALSE(refused.error().rollback_failed());
    }
    CHECK(std::ranges::count(machine.requests,
                             static_cast<unsigned long>(VFIO_GROUP_UNSET_CONTAINER)) == 1);
    CHECK_FALSE(acquired->in_container());
    CHECK(machine.groups.at("/dev/vfio/1").in == nullptr);  // or it would pin what nobody holds
    CHECK(look(into) == before);
    must(into.join(acquired));
    must(into.leave(acquired));
  }
}

TEST_CASE("leaving succeeds although the limits cannot be read again: the narrower ones go on") {
  anew();
  type1 iommu;
  auto first = must(iommu.join(edu));
  auto second = must(iommu.join(nic));
  {
    const injected_fault no_info{2, EIO};
    must(iommu.leave(first));
    CHECK(no_info.fired());
  }
  CHECK(iommu.usable_iova()[0] == extent<io_address>{io_address{0x1000}, io_address{0xfedf'ffff}});
  const injected_fault stays{1, EIO};
  CHECK(iommu.leave(second).error().is_errno(EIO));
  CHECK(second->in_container());
}

TEST_CASE(
    "a group whose join got stuck is in the container until it is abandoned, whoever else has it "
    "open") {
  for (const bool is_first : {false, true}) {
    for (const bool acquired_first : {false, true}) {
      CAPTURE(is_first);
      CAPTURE(acquired_first);
      auto& machine = anew();
      type1 iommu;
      type1::joined_group company;
      if (!is_first) company = must(iommu.join(mtty));
      // Somebody else's descriptor, KVM's or a management layer's: closing ours is not enough.
      const kernel_descriptor<fake_vfio_kernel> theirs{
          fake_vfio_kernel::call(SYS_openat, AT_FDCWD, "/dev/vfio/1", O_RDWR, 0)};
      const auto passed_in = vfio_group::from_descriptor(theirs.number(), "/dev/vfio/1");
      auto const& group = machine.groups.at("/dev/vfio/1");
      machine.refusals = {{VFIO_IOMMU_GET_INFO, EIO}, {VFIO_GROUP_UNSET_CONTAINER, EBUSY}};
      type1::joined_group acquired;
      if (acquired_first) acquired = must(iommu.acquire(passed_in));
      const auto stuck = acquired_first ? iommu.join(acquired)
                                        : iommu.join(passed_in).map([](auto const&) noexcept {});
      REQUIRE(!stuck);
      CHECK(stuck.error().is_errno(EIO));
      CHECK(stuck.error().rollback_failed());
      CHECK(group.in != nullptr);
      const auto still = iommu.abandon();
      REQUIRE(!still);
      CHECK(still.error().is(errc::still_in_use));
      CHECK(still.error().subject() == "/dev/vfio/1");
      machine.refusals.clear();
      must(iommu.abandon());
      CHECK(group.in == nullptr);
      CHECK(group.open);
      CHECK(machine.files.size() == 1);
      CHECK(iommu.join(nic));
    }
  }
}

TEST_CASE(
    "a virtual function is opened with the token that its group was given, under its plain name") {
  const std::string uuid = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";
  const auto right = must(vf_token::of(uuid));
  const auto wrong = must(vf_token::of("bd8d9d2b-5a5f-4f5a-a211-f591514ba1f4"));
  auto& machine = anew();
  machine.groups["/dev/vfio/1"].is = {.devices = {"0000:01:00.0", "0000:01:10.0"},
                                      .tokens = {{"0000:01:10.0", uuid}}};
  tether_test::fake_sysfs sysfs;
  sysfs.add("0000:01:00.0", "pci", "1", "vfio-pci");
  sysfs.add("0000:01:10.0", "pci", "1", "vfio-pci");
  type1 iommu{vfio_sysfs{sysfs.root()}};
  const auto why = [&](vfio_group const& group, std::string_view device) {
    auto joined = must(iommu.join(group));
    const auto opened = iommu.open(joined, device);
    REQUIRE(!opened);
    CHECK(opened.error().subject() == device);
    must(iommu.leave(joined));
    return opened.error();
  };
  const auto without = why(edu, "0000:01:10.0");
  CHECK(without.is_errno(EACCES));
  CHECK(without.sentence().find("vfio_group::with_token()") != std::string::npos);
  const auto other = why(edu.with_token("0000:01:10.0", wrong), "0000:01:10.0");
  CHECK(other.is_errno(EACCES));
  CHECK(other.sentence().find("another VF token") != std::string::npos);
  const auto needless = why(edu.with_token("0000:01:00.0", right), "0000:01:00.0");
  CHECK(needless.is_errno(EINVAL));
  CHECK(needless.sentence().find("no VF token") != std::string::npos);

  auto joined = must(iommu.join(edu.with_token("0000:01:10.0", right)));
  CHECK(must(iommu.classify(joined, "0000:01:10.0")) == pin_class::pins);
  auto function = must(iommu.open(joined, "0000:01:10.0"));
  CHECK(function.name() == "0000:01:10.0");
  auto plain = must(iommu.open(joined, "0000:01:00.0"));
  const auto as_one = iommu.classify(joined, "0000:01:10.0 vf_token=" + uuid);
  REQUIRE(!as_one);
  CHECK(as_one.error().sentence().find("vfio_group::with_token()") != std::string::npos);
  must(iommu.close(function));
  must(iommu.close(plain));
  must(iommu.leave(joined));
}

}  // namespace runtime_backend_vfio_type1
