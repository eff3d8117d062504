// SPDX-License-Identifier: BSL-1.0
// Law 4: joining a container that has mappings already is itself a pin point. A container with only
// a mediated group pins nothing; then a real device's group joins, and that one call pins
// everything. So the hold must be there before it.
// tier: 1 2
// machine: -device edu -smp 2
// modules: mdev
#include <stop_token>
#include <system/in_machine.hpp>

#include <atomic>
#include <sys/mman.h>
#include <thread>

namespace system_the_pin_point {

using namespace in_machine;

namespace {

/// A thread that does the same thing over and over, as fast as it can, as long as this lives.
class over_and_over {
 public:
  template <class Act>
  explicit over_and_over(Act act)
      : thread_{[this, act](std::stop_token const& stop) {
          while (!stop.stop_requested()) rounds_ += act() ? 1U : 0U;
        }} {}
  /// Waits until it has succeeded `more` times from now.
  void wait_for(std::uint64_t more) const {
    for (const auto until = rounds_ + more; rounds_ < until;) std::this_thread::yield();
  }

 private:
  std::atomic<std::uint64_t> rounds_{0};
  std::jthread thread_;
};

template <class Inhibition>
void not_one_stale_page() {
  constexpr std::uint32_t pages = 64;
  mediated_device serial;
  vm<Inhibition> v{pages * page};
  auto emulated = must(v.dma.attach(serial.group()));
  static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
  std::atomic<std::uint64_t> inhibited{0};
  // It only takes pages away, and nobody brings one back but the kernel as it pins. So what is
  // missing once everything is pinned was taken behind the pin's back.
  over_and_over ballooning{[&, frames = frame_numbers(0, pages)] {
    const auto told = v.balloon.inflate(frames);
    inhibited += told.inhibited;
    return told.discarded != 0;
  }};
  for (unsigned round = 0; round < 40; ++round) {
    ballooning.wait_for(3);
    auto group = must(v.dma.attach(group_of(edu_address())));
    const auto pinned = frames_behind(v.ram);
    CHECK(std::ranges::count(pinned, std::uint64_t{0}) == 0);
    if (round % 8 == 0) {
      for (std::uint64_t at = 0; at < v.ram.size(); at += page)
        std::ranges::copy(pattern(at / page, round, page), v.ram.data() + at);
      auto device = must(group.open(edu_address()));
      auto dma = v.drive(*device);
      for (const std::uint64_t frame : {std::uint64_t{0}, std::uint64_t{pages} - 1}) {
        std::vector<std::byte> seen(edu::most);
        must(dma.dma_read(io_address{frame * page}, seen));
        CHECK(std::ranges::equal(seen, v.at(frame * page, edu::most)));
        must(dma.dma_write(io_address{frame * page}, pattern(frame, round + 1, edu::most)));
        CHECK(std::ranges::equal(v.at(frame * page, edu::most),
                                 pattern(frame, round + 1, edu::most)));
      }
    }
    CHECK(frames_behind(v.ram) == pinned);
    must(group.detach());
  }
  CHECK(inhibited != 0);
  must(emulated.detach());
  CHECK(v.gate.counts() == gate_counts{});
}

}  // namespace

TEST_CASE(
    "a container with only a mediated group pins nothing; a real device's group pins everything by "
    "joining, and nothing by leaving") {
  auto ram = must(ram_block::allocate("ram", 1 * MiB));
  mediated_device serial;
  vfio_type1 iommu;
  const auto nothing = locked_by_the_kernel();
  auto emulated = must(iommu.join(serial.group()));
  must(iommu.map({{io_address{0}, io_address{ram.size() - 1}}, ram.host()}));
  CHECK(std::ranges::all_of(frames_behind(ram), [](std::uint64_t frame) { return frame == 0; }));
  CHECK(locked_by_the_kernel() == nothing);
  for (int round = 0; round < 2; ++round) {
    auto real = must(iommu.join(group_of(edu_address())));
    CHECK(std::ranges::count(frames_behind(ram), std::uint64_t{0}) == 0);
    CHECK(locked_by_the_kernel() == nothing + ram.size());
    must(iommu.leave(real));
    CHECK(locked_by_the_kernel() == nothing);
  }
  // the mapping has outlived the pins
  must(iommu.unmap({io_address{0}, io_address{ram.size() - 1}}));
  must(iommu.leave(emulated));
}

TEST_CASE(
    "the hold is taken before the join that pins: the journal's next call after the hold is the "
    "join, and no map follows") {
  mediated_device serial;
  vm_on<recording<vfio_type1>, inhibit_per_group> v;
  auto& book = v.dma.backend().log();
  auto emulated = must(v.dma.attach(serial.group()));
  static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
  REQUIRE(v.gate.counts() == gate_counts{});
  CHECK(v.balloon.inflate(frame_numbers(0, 8)).discarded == 8);

  book.clear();
  std::vector<std::string> seen;
  const auto look = [&](const char* when) {
    return [&, when](journal_entry const& entry) {
      const bool held = v.gate.counts() != gate_counts{};
      const auto told = v.balloon.inflate(frame_numbers(8, 8));
      const char* const discarded = told.discarded != 0 ? " discarded" : "";
      const char* const pinned = locked_by_the_kernel() != 0 ? " pinned" : "";
      seen.push_back(std::string{when} + ' ' + name_of(entry.what) + (held ? " held" : " open") +
                     discarded + pinned);
    };
  };
  book.before_each(look("before"));
  book.after_each(look("after"));
  auto real = must(v.dma.attach(group_of(edu_address())));
  CHECK(seen == std::vector<std::string>{"before join held", "after join held pinned"});
  CHECK(book.entries().size() == 1);
  seen.clear();
  must(real.detach());
  CHECK(seen == std::vector<std::string>{"before leave held pinned", "after leave held"});
  book.before_each({});
  book.after_each({});
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.balloon.inflate(frame_numbers(8, 8)).discarded == 8);
}

TEST_CASE(
    "without tether, a thread that balloons all along leaves pages that the device and the CPU see "
    "differently") {
  auto ram = must(ram_block::allocate("ram", 64 * page));
  mediated_device serial;
  vfio_type1 iommu;
  auto emulated = must(iommu.join(serial.group()));
  must(iommu.map({{io_address{0}, io_address{ram.size() - 1}}, ram.host()}));
  {
    over_and_over ballooning{[&] { return ::madvise(ram.data(), ram.size(), MADV_DONTNEED) == 0; }};
    ballooning.wait_for(3);
    auto real = must(iommu.join(group_of(edu_address())));
    ballooning.wait_for(3);
    CHECK(locked_by_the_kernel() >= ram.size());
    CHECK(std::ranges::count(frames_behind(ram), std::uint64_t{0}) != 0);
    must(iommu.leave(real));
  }
  must(iommu.leave(emulated));
}

TEST_CASE("inhibit_per_group: not one stale page, however the balloon races with the join") {
  not_one_stale_page<inhibit_per_group>();
}
TEST_CASE("inhibit_per_device: not one stale page, however the balloon races with the join") {
  not_one_stale_page<inhibit_per_device>();
}
TEST_CASE("inhibit_per_container: not one stale page, however the balloon races with the join") {
  not_one_stale_page<inhibit_per_container>();
}

TEST_CASE(
    "a group's node counts as the group that it leads to, whatever its name is, and is refused "
    "where another was asked for") {
  mediated_device serial;
  const std::string mediated_path{serial.group().name()};
  const std::string real_path{group_of(edu_address()).name()};
  vm<> v{16 * page};
  {
    const exchanged_nodes now{mediated_path, real_path};
    for (auto const& asked : {serial.group(), group_of(edu_address())}) {
      const auto refused = v.dma.attach(asked);
      REQUIRE(!refused);
      CHECK(refused.error().is(errc::no_such_device));
    }
    CHECK(v.gate.counts() == gate_counts{});
    auto real = must(v.dma.attach(vfio_group{mediated_path}));
    CHECK(v.dma.backend().pins_now());
    CHECK(pinned_now() != 0);
    CHECK(real.open(edu_address(), agrees_to_discards).error().is(errc::consent_refused));
    CHECK(v.balloon.inflate(frame_numbers(0, 8)).inhibited == 8);
    must(real.detach());
    auto emulated = must(v.dma.attach(vfio_group{real_path}));
    CHECK_FALSE(v.dma.backend().pins_now());
    static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
    CHECK(v.balloon.inflate(frame_numbers(0, 8)).discarded == 8);
    must(emulated.detach());
  }
  must(must(v.dma.attach(group_of(edu_address()))).detach());
}

}  // namespace system_the_pin_point
