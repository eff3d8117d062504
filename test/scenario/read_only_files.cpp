// SPDX-License-Identifier: BSL-1.0
// A ROM that another process sends with a descriptor for reading only: it is mapped, and pinned,
// for reading, and nothing writes or discards it. As RAM it is refused.
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <span>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace scenario_read_only_files {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t size = 64 * KiB;

endpoint_group const nics{"nics", {{"nic", pin_class::pins}}};

/// A memfd, and a descriptor of it that is open for reading only.
struct rom_file {
  int writing;
  int reading;

  explicit rom_file(unsigned seals = 0)
      : writing{::memfd_create("rom", MFD_CLOEXEC | MFD_ALLOW_SEALING)} {
    REQUIRE(writing >= 0);
    REQUIRE(::ftruncate(writing, size) == 0);
    REQUIRE(::pwrite(writing, "BIOS", 4, 0) == 4);
    if (seals != 0) REQUIRE(::fcntl(writing, F_ADD_SEALS, seals) == 0);
    reading = ::open(("/proc/self/fd/" + std::to_string(writing)).c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(reading >= 0);
  }
  rom_file(rom_file const&) = delete;
  rom_file& operator=(rom_file const&) = delete;
  ~rom_file() {
    ::close(writing);
    ::close(reading);
  }
  [[nodiscard]] ram_block received(int descriptor) const {
    return must(ram_block::from_descriptor("rom", descriptor, 0, size));
  }
};

void check_denied(result<void> const& outcome) {
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().is(errc::access_denied));
  CHECK_MESSAGE(outcome.error().sentence().find("open for reading only") != std::string::npos,
                outcome.error().sentence());
}

/// What a device reads at a guest address.
template <class Device>
std::string read_by(Device& device, std::uint64_t at) {
  std::array<std::byte, 4> bytes{};
  if (auto done = device.dma_read(io_address{at}, bytes); !done) return done.error().sentence();
  return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}
template <class Device>
bool can_write(Device& device, std::uint64_t at) {
  const std::byte one{'x'};
  return device.dma_write(io_address{at}, std::span{&one, 1}).has_value();
}

}  // namespace

TEST_CASE("a ROM from a descriptor for reading only is mapped for reading, sealed or not") {
  for (const unsigned seals : {0U, unsigned{F_SEAL_WRITE}, 0x10U /* F_SEAL_FUTURE_WRITE */}) {
    CAPTURE(seals);
    const rom_file file{seals};
    auto rom = file.received(file.reading);
    CHECK_FALSE(rom.writable());
    CHECK(std::memcmp(rom.data(), "BIOS", 4) == 0);
    address_space guest;
    discard_gate<> gate;
    const auto plain = must(guest.place(region::ram(rom).read_only(), guest_address{GiB}));
    REQUIRE(guest.place(region::rom(rom), guest_address{0}));
    REQUIRE(guest.place(region::rom(rom, block_offset{4 * KiB}, 4 * KiB), guest_address{MiB}));
    container<software_iommu> dma{guest, gate};
    auto group = must(dma.attach(nics));
    auto nic = must(group.open("nic"));
    for (const std::uint64_t at : {std::uint64_t{0}, GiB}) {
      CHECK(read_by(*nic, at) == "BIOS");
      CHECK_FALSE(can_write(*nic, at));
    }
    check_denied(guest.set_read_only(plain, false));
    CHECK_FALSE(can_write(*nic, GiB));
    balloon device{guest, gate};
    CHECK(device.inflate(std::array{std::uint32_t{GiB / frame_size}}).not_ram == 1);
    CHECK(read_by(*nic, GiB) == "BIOS");
  }
}

TEST_CASE("memory from a descriptor for reading only is refused as RAM, and never discarded") {
  const rom_file file;
  auto rom = file.received(file.reading);
  address_space guest;
  discard_gate<> gate;
  for (region const& what : {region::ram(rom), region::ram_device(rom)}) {
    const auto placed = guest.place(what, guest_address{0});
    REQUIRE_FALSE(placed);
    check_denied(failure(placed.error()));
    CHECK(placed.error().subject() == "rom");
  }
  CHECK(guest.view()->empty());
  const extent<block_offset> all{block_offset{0}, block_offset{size - 1}};
  const auto permit = gate.permit(discard_kind::uncoordinated);
  check_denied(rom.discard(all, permit));
  check_denied(rom.backing().discard(all, permit));
  check_denied(rom.populate(all));
  check_denied(rom.backing().populate(all));
  CHECK(std::memcmp(rom.data(), "BIOS", 4) == 0);
}

TEST_CASE(
    "one file by both descriptors: each block may what its own allows, and one gate guards all") {
  for (const bool reading_first : {true, false}) {
    CAPTURE(reading_first);
    const rom_file file;
    auto first = file.received(reading_first ? file.reading : file.writing);
    auto second = file.received(reading_first ? file.writing : file.reading);
    ram_block& rom = reading_first ? first : second;
    ram_block& ram = reading_first ? second : first;
    CHECK(rom.identity() == ram.identity());
    CHECK(ram.writable());
    CHECK_FALSE(rom.writable());
    ram.data()[0] = std::byte{'b'};
    CHECK(std::memcmp(rom.data(), "bIOS", 4) == 0);

    address_space guest;
    address_space other;
    discard_gate<> gate;
    discard_gate<> stranger;
    CHECK_FALSE(guest.place(region::ram(rom), guest_address{0}));
    REQUIRE(guest.place(region::rom(rom), guest_address{0}));
    REQUIRE(other.place(region::ram(ram), guest_address{0}));
    const balloon mine{guest, gate};
    // A hold of the gate behind which the ROM is pinned would not stop the other one's discards.
    balloon theirs{other, stranger};
    const auto refused = theirs.inflate(std::array{0U});
    CHECK(refused.errors == 1);
    REQUIRE(refused.first_error);
    CHECK(refused.first_error->is(errc::other_gate));
    CHECK(std::memcmp(rom.data(), "bIOS", 4) == 0);
    const extent<block_offset> all{block_offset{0}, block_offset{size - 1}};
    {
      const auto permit = gate.permit(discard_kind::uncoordinated);
      check_denied(rom.discard(all, permit));
      REQUIRE(ram.discard(all, permit));
    }
    CHECK(rom.data()[0] == std::byte{0});
  }
}

TEST_CASE("the same descriptor for reading, sent again, is the same memory") {
  const rom_file file;
  auto one = file.received(file.reading);
  const auto again = file.received(file.reading);
  CHECK(&one.backing() == &again.backing());
  REQUIRE(one.free());
  CHECK(std::memcmp(again.data(), "BIOS", 4) == 0);
}

}  // namespace scenario_read_only_files
