// SPDX-License-Identifier: BSL-1.0
// /dev/vfio/vfio as a link to /dev/iommu: Linux takes an iommufd for VFIO's container. A group that
// joins it pins nothing and brings no limits; the first device that is opened does.
// tier: 2
// machine: -device edu
#include <system/in_machine.hpp>

#include <filesystem>
#include <optional>

namespace system_an_iommufd_stands_in {

using namespace in_machine;

namespace {

/// For a scope: an iommufd where VFIO's container is looked for.
class stand_in {
 public:
  stand_in() {
    std::filesystem::rename(node, own);
    std::filesystem::create_symlink("/dev/iommu", node);
  }
  stand_in(stand_in const&) = delete;
  stand_in& operator=(stand_in const&) = delete;
  ~stand_in() { std::filesystem::rename(own, node); }

 private:
  static constexpr const char* node = "/dev/vfio/vfio";
  static constexpr const char* own = "/dev/vfio/vfio.own";
};

}  // namespace

TEST_CASE("pins and limits come with the first device, under a hold that is older") {
  const stand_in linked;
  vm<> v;
  auto group = must(v.dma.attach(group_of(edu_address())));
  CHECK(v.dma.usable_iova() == std::vector{extent<io_address>::everything()});
  CHECK(pinned_now() == 0);
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  {
    auto device = must(group.open(edu_address()));
    CHECK(v.dma.usable_iova() != std::vector{extent<io_address>::everything()});
    const auto pinned = frames_behind(v.ram);
    CHECK(std::ranges::count(pinned, std::uint64_t{0}) == 0);
    CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
    {
      auto engine = v.drive(*device);
      for (const std::uint64_t frame : {0U, 3U, 511U}) {
        const auto sent = pattern(frame, 1, edu::most);
        must(engine.dma_write(io_address{frame * page}, sent));
        CHECK(std::ranges::equal(v.at(frame * page, edu::most), sent));
      }
      CHECK(frames_behind(v.ram) == pinned);
      CHECK(group.detach().error().is(errc::still_in_use));
      CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
    }
    must(device.close());
  }
  CHECK(v.dma.usable_iova() == std::vector{extent<io_address>::everything()});
  must(group.detach());
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(pinned_now() == 0);
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).discarded == 4);
}

TEST_CASE("a container that is dropped while a BAR is mapped holds discards down until it is not") {
  const stand_in linked;
  ram_block ram = must(ram_block::allocate("ram", 2 * MiB));
  address_space guest;
  discard_gate<> gate;
  tether::balloon<> balloon{guest, gate};
  std::optional<container<vfio_type1>> dma{std::in_place, guest, gate, vfio_type1{}};
  const auto id = must(guest.place(region::ram(ram), guest_address{0}));
  auto group = must(dma->attach(group_of(edu_address())));
  auto device = must(group.open(edu_address()));
  std::optional view{must(device->map_bar(0))};
  const auto pinned = frames_behind(ram);
  dma.reset();
  CHECK(gate.counts().any_holds == 1);
  CHECK(balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  CHECK(frames_behind(ram) == pinned);
  view.reset();
  CHECK(gate.counts() == gate_counts{});
  CHECK(pinned_now() == 0);
  CHECK(balloon.inflate(frame_numbers(0, 4)).discarded == 4);
  must(guest.remove(id));
}

TEST_CASE("memory beyond the device's reach is told when it is opened") {
  const stand_in linked;
  vm<> v;
  auto group = must(v.dma.attach(group_of(edu_address())));
  ram_block far = must(ram_block::allocate("far", 2 * MiB));
  const auto id = must(v.guest.place(region::ram(far), guest_address{std::uint64_t{1} << 62}));
  const auto refused = group.open(edu_address());
  REQUIRE(!refused);
  MESSAGE(refused.error().sentence());
  CHECK(refused.error().is(errc::outside_aperture));
  CHECK(pinned_now() == 0);
  must(v.guest.remove(id));
  static_cast<void>(must(group.open(edu_address())));
  must(group.detach());
}

}  // namespace system_an_iommufd_stands_in
