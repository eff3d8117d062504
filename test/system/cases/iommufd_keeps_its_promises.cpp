// SPDX-License-Identifier: BSL-1.0
// What the other cases show over VFIO's type1, over iommufd: devices join one by one, by their own
// nodes.
// tier: 2
// machine: -device edu -device edu
#include <system/in_machine.hpp>

#include <support/process_facts.hpp>

#include <cerrno>
#include <cstdio>
#include <map>
#include <sys/mman.h>

namespace system_iommufd_keeps_its_promises {

using namespace in_machine;

namespace {

iommufd own_address_space() { return must(iommufd::open(must(iommufd_context::open()))); }
vfio_cdev edu_node(std::size_t n = 0) { return must(vfio_cdev::of(edu_address(n))); }

template <class... Policies>
struct lone_vm : vm_on<iommufd, Policies...> {
  explicit lone_vm(std::uint64_t size = 2 * MiB) : lone_vm{own_address_space(), size} {}
  explicit lone_vm(iommufd backend, std::uint64_t size = 2 * MiB)
      : vm_on<iommufd, Policies...>{std::move(backend), size} {}

  void fill(unsigned turn) {
    for (std::uint64_t at = 0; at < this->ram.size(); at += page)
      std::ranges::copy(pattern(at / page, turn, page), this->ram.data() + at);
  }
  [[nodiscard]] std::uint64_t all_bytes() const { return this->ram.size() + this->mailbox.size(); }
};

template <class Inhibition, class Granularity>
void not_one_stale_byte() {
  lone_vm<Inhibition, Granularity> v;
  v.fill(0);
  CHECK(v.balloon.inflate(frame_numbers(0, 16)).discarded == 16);
  const auto agreed = v.dma.attach(edu_node(), agrees_to_discards);
  REQUIRE(!agreed);
  CHECK(agreed.error().is(errc::consent_refused));
  CHECK(v.gate.counts() == gate_counts{});
  auto device = must(v.dma.attach(edu_node()));
  {
    auto engine = v.drive(*device);
    const auto before = frames_behind(v.ram);
    CHECK(std::ranges::count(before, std::uint64_t{0}) == 0);
    const auto told = v.balloon.inflate(frame_numbers(100, 64));
    CHECK(told.inhibited == 64);
    CHECK(told.discarded == 0);
    v.fill(1);
    CHECK(frames_behind(v.ram) == before);
    // Ballooned before, one of those that the balloon asked for, and the last of all.
    for (const std::uint64_t frame : {0U, 163U, 511U}) {
      const auto sent = pattern(frame, 2, edu::most);
      must(engine.dma_write(io_address{frame * page + 1}, sent));
      CHECK(std::ranges::equal(v.at(frame * page + 1, edu::most), sent));
      std::vector<std::byte> seen(edu::most);
      must(engine.dma_read(io_address{frame * page}, seen));
      CHECK(std::ranges::equal(seen, v.at(frame * page, edu::most)));
    }
    CHECK(frames_behind(v.ram) == before);

    // As long as its registers are mapped it cannot be told to be quiet: everything stays, and it
    // is named.
    const auto usage = v.dma.usage();
    const auto busy = device.detach();
    REQUIRE(!busy);
    CHECK(busy.error().is(errc::still_in_use));
    CHECK(busy.error().subject() == edu_address());
    CHECK(v.dma.usage() == usage);
    CHECK(v.balloon.inflate(frame_numbers(100, 64)).inhibited == 64);
  }
  must(device.detach());
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(pinned_now() == 0);
  CHECK(v.balloon.inflate(frame_numbers(100, 64)).discarded == 64);
}

/// Everything that a failure could leave behind.
struct state {
  std::map<int, std::string> descriptors = tether_test::descriptors();
  std::uint64_t pinned = pinned_now();
  friend bool operator==(state const&, state const&) = default;
};

/// Fails each allocation of an attach in turn: those of the whole attach, or from the join on.
/// (vfio-pci asks ACPI when it is bound, and this kernel's ACPI does not survive a failed
/// allocation.)
template <class Endpoint>
void run_out_of_memory(Endpoint const& node, consent agrees, bool from_the_join_on) {
  auto ram = must(ram_block::allocate("ram", 256 * KiB));
  std::memset(ram.data(), 1, ram.size());
  address_space guest;
  discard_gate<> gate;
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  journal book;
  container<recording<iommufd>> dma{guest, gate, recording<iommufd>{book, own_address_space()}};
  must(must(dma.attach(node, agrees)).detach());
  std::optional<failing_allocation> out_of_memory;
  unsigned next = 0;
  book.before_each([&](journal_entry const& entry) {
    const backend_call first = from_the_join_on ? backend_call::join : backend_call::open;
    if (next != 0 && entry.what == first) out_of_memory.emplace(std::exchange(next, 0));
  });
  const state before;
  unsigned failures = 0;
  for (unsigned n = 1;; ++n) {
    REQUIRE(n < 2000);
    next = n;
    auto attached = dma.attach(node, agrees);
    REQUIRE(out_of_memory.has_value());
    const bool struck = out_of_memory->struck();
    out_of_memory.reset();
    INFO("allocation " << n);
    if (!attached) {
      ++failures;
      CHECK(struck);
      CHECK_MESSAGE(!dma.diverged(), attached.error().sentence());
      CHECK(dma.usage().mappings == 0);
      CHECK(gate.counts() == gate_counts{});
      CHECK(std::ranges::all_of(std::span{ram.data(), ram.size()},
                                [](std::byte one) { return one == std::byte{1}; }));
    } else {
      must(attached->detach());
    }
    CHECK(state{} == before);
    if (!struck) break;
  }
  CHECK(failures != 0);
}

}  // namespace

TEST_CASE(
    "iommufd without tether: the CPU never sees what the device wrote into a page that was "
    "ballooned") {
  auto ram = must(ram_block::allocate("ram", 16 * page));
  auto mailbox = must(ram_block::allocate("mailbox", page, memory_kind::shared));
  std::memset(ram.data(), 0x11, ram.size());
  auto iommu = own_address_space();
  auto device = must(iommu.open(edu_node()));
  must(iommu.bind(device));
  must(iommu.join(device));
  must(iommu.map({{io_address{0}, io_address{ram.size() - 1}}, ram.host()}));
  must(iommu.map({{io_address{mailbox_at}, io_address{mailbox_at + page - 1}},
                  mailbox.host(),
                  access::read_write,
                  memory_kind::shared}));
  {
    auto engine = must(engine::start(device, mailbox.data(), io_address{mailbox_at}));
    const auto before = frames_behind(ram);
    REQUIRE(::madvise(ram.data() + page, page, MADV_DONTNEED) == 0);
    std::memset(ram.data() + page, 0x22, page);
    CHECK(frames_behind(ram)[1] != before[1]);
    const auto sent = pattern(1, 1, 64);
    must(engine.dma_write(io_address{page}, sent));
    CHECK(std::ranges::all_of(std::span{ram.data() + page, page},
                              [](std::byte one) { return one == std::byte{0x22}; }));
    std::array<std::byte, 64> seen{};
    must(engine.dma_read(io_address{page}, seen));
    CHECK(std::ranges::equal(seen, sent));  // it went somewhere: to the old frame
  }
  must(iommu.unmap(extent<io_address>::everything()));
  must(iommu.leave(device));
  must(iommu.close(device));
}

TEST_CASE("iommufd, inhibit_per_group: not one stale byte") {
  not_one_stale_byte<inhibit_per_group, whole_section>();
  not_one_stale_byte<inhibit_per_group, fixed_block<64 * KiB>>();
}
TEST_CASE("iommufd, inhibit_per_device: not one stale byte") {
  not_one_stale_byte<inhibit_per_device, largest_page>();
  not_one_stale_byte<inhibit_per_device, fixed_block<64 * KiB>>();
}
TEST_CASE("iommufd, inhibit_per_container: not one stale byte") {
  not_one_stale_byte<inhibit_per_container, whole_section>();
  not_one_stale_byte<inhibit_per_container, largest_page>();
}

TEST_CASE(
    "a mediated device that agrees pins nothing and holds nobody down; a real one beside it stops "
    "the balloon while it is there") {
  mediated_device serial;
  lone_vm<> v;
  v.fill(1);
  const auto node = must(vfio_cdev::of(serial.name()));
  auto emulated = must(v.dma.attach(node, agrees_to_discards));
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(pinned_now() == 0);
  CHECK(v.balloon.inflate(frame_numbers(40, 8)).discarded == 8);
  CHECK(frames_behind(v.ram.data() + 40 * page, page)[0] == 0);

  auto real = must(v.dma.attach(edu_node()));
  CHECK(pinned_now() == v.all_bytes());
  CHECK(v.balloon.inflate(frame_numbers(40, 8)).inhibited == 8);
  must(emulated.detach());
  CHECK(v.balloon.inflate(frame_numbers(40, 8)).inhibited == 8);
  emulated = must(v.dma.attach(node, agrees_to_discards));
  {
    auto engine = v.drive(*real);
    const auto sent = pattern(44, 7, edu::most);
    must(engine.dma_write(io_address{44 * page}, sent));
    CHECK(std::ranges::equal(v.at(44 * page, edu::most), sent));
  }
  must(real.detach());
  CHECK(pinned_now() == 0);
  CHECK(v.balloon.inflate(frame_numbers(40, 8)).discarded == 8);
  CHECK(v.dma.usage().bytes == v.all_bytes());  // the mappings stayed, and pin nothing
  must(emulated.detach());
}

TEST_CASE(
    "a node counts as the device that it leads to, whatever sysfs has under its name, and is "
    "refused where another was asked for") {
  mediated_device serial;
  lone_vm<> v;
  v.fill(1);
  const std::string mediated_path = must(vfio_cdev::of(serial.name())).path();
  const std::string real_path = edu_node().path();
  {
    const exchanged_nodes now{mediated_path, real_path};
    CHECK(vfio_cdev{mediated_path}.name() == edu_address());
    CHECK(v.dma.attach(vfio_cdev{mediated_path}, agrees_to_discards)
              .error()
              .is(errc::consent_refused));
    CHECK(v.dma.attach(must(vfio_cdev::of(serial.name())), agrees_to_discards)
              .error()
              .is(errc::consent_refused));
    CHECK(v.dma.attach(must(vfio_cdev::of(serial.name()))).error().is(errc::no_such_device));
    CHECK(v.dma.attach(edu_node()).error().is(errc::no_such_device));
    CHECK(v.gate.counts() == gate_counts{});
    auto real = must(v.dma.attach(vfio_cdev{mediated_path}));
    CHECK(pinned_now() == v.all_bytes());
    CHECK(v.balloon.inflate(frame_numbers(40, 8)).inhibited == 8);
    must(real.detach());
    auto emulated = must(v.dma.attach(vfio_cdev{real_path}, agrees_to_discards));
    CHECK(v.balloon.inflate(frame_numbers(40, 8)).discarded == 8);
    must(emulated.detach());
  }
  must(must(v.dma.attach(edu_node())).detach());
}

TEST_CASE(
    "a second container of the same context shares what the first has pinned in pieces of the same "
    "size, and either may go first") {
  for (const bool first_goes_first : {true, false}) {
    const auto context = must(iommufd_context::open());
    auto ram = must(ram_block::allocate("ram", 1 * MiB));
    auto mailbox = must(ram_block::allocate("mailbox", page, memory_kind::shared));
    std::memset(ram.data(), 1, ram.size());
    address_space guest;
    discard_gate<> gate;
    static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
    static_cast<void>(must(guest.place(region::ram(mailbox), guest_address{mailbox_at})));
    container<iommufd> one{guest, gate, must(iommufd::open(context))};
    container<iommufd> other{guest, gate, must(iommufd::open(context))};
    auto first = must(one.attach(edu_node(0)));
    const auto pinned = pinned_now();
    CHECK(pinned == ram.size() + mailbox.size());
    auto second = must(other.attach(edu_node(1)));
    CHECK(pinned_now() == pinned);  // by type1 it would be twice as much
    CHECK(other.usage().bytes == one.usage().bytes);
    if (first_goes_first) must(first.detach());
    else must(second.detach());
    CHECK(pinned_now() == pinned);
    {
      auto engine = must(engine::start(first_goes_first ? *second : *first, mailbox.data(),
                                       io_address{mailbox_at}));
      const auto sent = pattern(3, 1, 64);
      must(engine.dma_write(io_address{3 * page}, sent));
      CHECK(std::ranges::equal(std::span{ram.data() + 3 * page, sent.size()}, sent));
    }
    must(first_goes_first ? second.detach() : first.detach());
    CHECK(pinned_now() == 0);
    CHECK(gate.counts() == gate_counts{});
  }
}

TEST_CASE(
    "memory comes and goes while the device runs, and what is read-only or gone it cannot write") {
  auto more = must(ram_block::allocate("more", 1 * MiB, memory_kind::shared));
  lone_vm<> v;
  v.fill(1);
  auto device = must(v.dma.attach(edu_node()));
  {
    auto engine = v.drive(*device);
    const auto where = must(v.guest.place(region::ram(more), guest_address{64 * MiB}));
    const auto sent = pattern(9, 3, 64);
    must(engine.dma_write(io_address{65 * MiB - 64}, sent));
    CHECK(std::ranges::equal(std::span{more.data() + more.size() - 64, sent.size()}, sent));
    must(v.guest.set_read_only(where, true));
    const std::vector<std::byte> before{more.data(), more.data() + more.size()};
    engine.store(io_address{64 * MiB}, 64);
    CHECK(std::ranges::equal(before, std::span{more.data(), more.size()}));
    std::array<std::byte, 64> seen{};
    must(engine.dma_read(io_address{65 * MiB - 64}, seen));
    CHECK(std::ranges::equal(seen, sent));
    must(v.guest.remove(where));
    engine.store(io_address{64 * MiB}, 64);
    CHECK(std::ranges::equal(before, std::span{more.data(), more.size()}));
  }
  must(device.detach());
  std::puts(
      "told: IOMMU_IOAS_MAP_FILE is not in this kernel, so shared memory was mapped by its "
      "address");
}

TEST_CASE(
    "the usable addresses narrow when a device joins and widen when it leaves; what lies in their "
    "hole is refused up front") {
  mediated_device serial;
  auto block = must(ram_block::allocate("hole", 64 * KiB));
  lone_vm<> v;
  auto emulated = must(v.dma.attach(must(vfio_cdev::of(serial.name())), agrees_to_discards));
  const auto wide = v.dma.usable_iova();
  auto device = must(v.dma.attach(edu_node()));
  const auto narrow = v.dma.usable_iova();
  CHECK(narrow.size() > wide.size());
  const auto in_the_hole = v.guest.place(region::ram(block), guest_address{0xfee0'0000});
  REQUIRE(!in_the_hole);
  CHECK(in_the_hole.error().is(errc::outside_aperture));
  must(device.detach());
  CHECK(v.dma.usable_iova() == wide);
  // Without it nobody minds; and then it is the join that reveals the conflict: refused by name,
  // and everything as before.
  const auto where = must(v.guest.place(region::ram(block), guest_address{0xfee0'0000}));
  const auto usage = v.dma.usage();
  const state before;
  const auto refused = v.dma.attach(edu_node());
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::outside_aperture));
  CHECK(refused.error().subject() == edu_address());
  CHECK(v.dma.usage() == usage);
  CHECK(state{} == before);
  CHECK(!v.dma.diverged());
  CHECK(v.gate.counts() == gate_counts{});
  must(v.guest.remove(where));
  must(must(v.dma.attach(edu_node())).detach());
  must(emulated.detach());
}

TEST_CASE(
    "an attach for which the kernel has no memory leaves everything as it was, whichever "
    "allocation it is that fails") {
  run_out_of_memory(edu_node(), consent::none, true);
}
TEST_CASE("the same for a mediated device, from its opening on") {
  mediated_device serial;
  run_out_of_memory(must(vfio_cdev::of(serial.name())), agrees_to_discards, false);
}

TEST_CASE(
    "an attach past the user's locked-memory limit fails, says what to raise, and leaves nothing "
    "behind") {
  lone_vm<> v{8 * MiB};
  const auto node = edu_node();
  const state before;
  std::uint64_t advised = 0;
  {
    const as_an_ordinary_user limited{4 * MiB};
    const auto refused = v.dma.attach(node);
    REQUIRE(!refused);
    CHECK(refused.error().is_errno(ENOMEM));
    CHECK(refused.error().sentence().find("ulimit -l") != std::string::npos);
    // what the user's others hold no file says: at most the limit
    advised = refused.error().number() * KiB;
    CHECK(advised == 4 * MiB + v.all_bytes());
    CHECK(refused.error().subject() == "ram");
  }
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.dma.usage().mappings == 0);
  CHECK(state{} == before);
  const as_an_ordinary_user enough{advised};
  auto attached = must(v.dma.attach(node));
  CHECK(pinned_now() == v.all_bytes());
  must(attached.detach());
  CHECK(state{} == before);
}

TEST_CASE("two hundred rounds of attach and detach leave nothing behind") {
  lone_vm<> v{256 * KiB};
  const auto node = edu_node();
  must(must(v.dma.attach(node)).detach());
  const state before;
  for (unsigned round = 0; round < 200; ++round) must(must(v.dma.attach(node)).detach());
  CHECK(state{} == before);
}

}  // namespace system_iommufd_keeps_its_promises
