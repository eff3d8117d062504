// SPDX-License-Identifier: BSL-1.0
// Every operation of a container on the backends that hardware has, with KVM told, down to the
// single system call and allocation: each fails, alone and in pairs. fault_sweep.cpp does the same
// between container and backend, with real pins and a hostile balloon.
#include <support/fake_iommufd_kernel.hpp>
#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/guest_ram.hpp>
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/sweep.hpp>

#include <tether/attach/container.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/topology/address_space.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace exhaustive_fault_sweep_kernels {

using namespace tether;
using namespace tether_test;

namespace {

/// A machine's kernel, and KVM's VFIO device in it.
template <class Fake>
struct with_kvm : Fake {
  using typename Fake::answer;
  static inline std::set<int> told;

  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    const auto words = in_words(arguments...);
    if (number != SYS_ioctl || (words[1] != KVM_CREATE_DEVICE && words[1] != KVM_SET_DEVICE_ATTR))
      return Fake::call(number, arguments...);
    if (const int fault = Fake::next(kernel_call::numbered)) return -fault;
    if (words[1] == KVM_CREATE_DEVICE) {
      const auto made = linux_kernel::memfd_create("kvm", MFD_CLOEXEC);
      reinterpret_cast<kvm_create_device*>(words[2])->fd = static_cast<std::uint32_t>(made);
      return 0;
    }
    auto const& wanted = *reinterpret_cast<kvm_device_attr const*>(words[2]);
    const int file = *reinterpret_cast<int const*>(static_cast<std::uintptr_t>(wanted.addr));
    if (wanted.attr == KVM_DEV_VFIO_GROUP_ADD) return told.insert(file).second ? 0 : -EEXIST;
    return told.erase(file) == 1 ? 0 : -ENOENT;
  }
};

/// VFIO's type1: groups are attached, and devices opened out of them.
struct on_type1 {
  using fake = with_kvm<fake_vfio_kernel>;
  using kernel = kernel_with_own_memory<fake>;
  using backend_type = basic_vfio_type1<kernel>;
  static constexpr const char* device_name = "0000:01:00.0";

  static void start() {
    auto& machine = fake_vfio_kernel::start_anew();
    machine.groups["/dev/vfio/1"].is = {};
    machine.groups["/dev/vfio/2"].is = {.devices = {"0000:02:00.0"}, .page_sizes = 0x1000};
  }
  static backend_type make() { return backend_type{vfio_sysfs{"/nonexistent"}}; }
  static vfio_group const& first() {
    static const vfio_group one{"/dev/vfio/1"};
    return one;
  }
  static vfio_group const& second() {
    static const vfio_group one{"/dev/vfio/2"};
    return one;
  }
  static std::string text() {
    std::string all;
    for (auto const& [at, one] : fake_vfio_kernel::machine().mapped())
      all += " " + std::to_string(at) + "-" + std::to_string(one.last) + ">" +
             std::to_string(one.host) + "/" + std::to_string(one.flags);
    for (auto const& [path, one] : fake_vfio_kernel::machine().groups)
      all += " " + path + (one.open ? " open" : "") + (one.in ? " joined " : " ") +
             std::to_string(one.devices_open);
    return all;
  }
  static std::size_t mappings() { return fake_vfio_kernel::machine().mapped().size(); }
  static bool has_nothing() { return fake_vfio_kernel::machine().files.empty(); }
};

/// iommufd: devices are attached.
struct on_iommufd {
  using fake = with_kvm<fake_iommufd_kernel>;
  using kernel = kernel_with_own_memory<fake>;
  using backend_type = basic_iommufd<kernel>;

  static fake_sysfs const& made() {
    static const fake_sysfs all;
    return all;
  }
  static void plug(const char* name, const char* group, unsigned number) {
    const std::string node = "vfio" + std::to_string(number);
    static std::set<std::string> known;
    if (known.insert(name).second) {
      made().add(name, "pci", group, "vfio-pci");
      made().add_node(name, node, "510:" + std::to_string(number));
    }
    auto& device = fake_iommufd_kernel::machine().devices["/dev/vfio/devices/" + node].is;
    device.name = name;
    device.group = group;
    device.number = number;
  }
  static void start() {
    fake_iommufd_kernel::start_anew();
    plug("0000:01:00.0", "12", 0);
    plug("0000:02:00.0", "13", 1);
  }
  static backend_type make() {
    return must(
        backend_type::open(must(basic_iommufd_context<kernel>::open()), vfio_sysfs{made().root()}));
  }
  static vfio_cdev const& first() {
    static const vfio_cdev one{"/dev/vfio/devices/vfio0", vfio_sysfs{made().root()}};
    return one;
  }
  static vfio_cdev const& second() {
    static const vfio_cdev one{"/dev/vfio/devices/vfio1", vfio_sysfs{made().root()}};
    return one;
  }
  static std::string text() { return " " + fake_iommufd_kernel::machine().seen(true); }
  static std::size_t mappings() { return fake_iommufd_kernel::machine().areas(); }
  /// The context stays open as long as the container.
  static bool has_nothing() {
    return std::ranges::none_of(fake_iommufd_kernel::machine().files,
                                [](auto const& one) { return one.second.as_device != nullptr; });
  }
};

/// A small guest with a container of that machine. RAM with registers in it, and more RAM; each RAM
/// is one block of its own.
template <class Machine>
struct world {
  using machine = Machine;
  using kvm_type = basic_kvm_device<typename Machine::kernel>;
  using container_type = container<typename Machine::backend_type, kvm_type, inhibit_per_device>;

  struct begin {
    begin() {
      Machine::start();
      Machine::fake::told.clear();
    }
  };
  begin first_of_all;
  ram_block low = must(ram_block::allocate("low", 64 * KiB));
  ram_block high = must(ram_block::allocate("high", 32 * KiB, memory_kind::shared));
  ram_block spare = must(ram_block::allocate("spare", 16 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id low_region = must(guest.place(region::ram(low), guest_address{0}));
  region_id registers =
      must(guest.place(region::mmio("registers", 4 * KiB), guest_address{16 * KiB}, 1));
  region_id high_region = must(guest.place(region::ram(high), guest_address{1 * MiB}));
  std::optional<container_type> dma;
  std::optional<typename container_type::attached> one;
  std::optional<typename container_type::attached> another;
  std::optional<typename container_type::opened> device;
  std::optional<basic_bar_view<typename Machine::kernel>> registers_seen;

  world() {
    for (ram_block* block : {&low, &high, &spare}) mark_all(*block);
    dma.emplace(guest, gate, Machine::make(), must(kvm_type::create(1000)));
  }
  world(world const&) = delete;
  world& operator=(world const&) = delete;

  void attach_first() { one = must(dma->attach(Machine::first())); }
  void attach_second() { another = must(dma->attach(Machine::second())); }

  /// All that can be seen, as text.
  [[nodiscard]] std::string state() {
    const auto counts = gate.counts();
    std::string all = "holds " + std::to_string(counts.any_holds) + "/" +
                      std::to_string(counts.uncoordinated_holds) + " [";
    gate.for_each_holder([&](holder_info const& who) {
      all += std::string{who.name} + ":" + std::to_string(who.count) + " ";
    });
    const auto members = dma->membership();
    all += "] members " + std::to_string(members.members) + "/" +
           std::to_string(members.need_no_hold) + " mapped " +
           std::to_string(dma->usage().mappings) + "/" + std::to_string(dma->usage().bytes) +
           " left out " + std::to_string(dma->left_out().size()) +
           (dma->diverged() ? " diverged" : "") + " KVM";
    for (const int file : Machine::fake::told) all += " " + std::to_string(file);
    all += " machine" + Machine::text() + " view";
    for (section const& part : *guest.view())
      all += " " + std::string{part.name} + "@" + std::to_string(part.where.first.value) +
             (part.read_only ? "r" : "");
    all += " references";
    for (ram_block const* block : {&low, &high, &spare})
      all += " " + std::to_string(block->backing().references()) +
             (count(*block).marked == block->size() / frame ? "" : " changed");
    all += " descriptors";
    for (auto const& [number, target] : descriptors()) all += " " + std::to_string(number);
    return all;
  }

  [[nodiscard]] bool stuck(result<void> const& done) const {
    if (!done && done.error().rollback_failed()) CHECK(dma->diverged());
    return dma->diverged();
  }

  /// What is mapped is what is held, and what the guest has: all of it but for what a compulsory
  /// change could not map, and says so.
  void check_consistent() {
    CHECK_FALSE(dma->diverged());
    CHECK(dma->usage().mappings == Machine::mappings());
    if (Machine::mappings() != 0) CHECK(gate.counts().any_holds != 0);
    if (dma->membership().members == 0) CHECK(gate.counts() == gate_counts{});
    std::size_t sections = 0;
    for (section const& part : *guest.view()) sections += part.kind == region_kind::ram ? 1U : 0U;
    CHECK(Machine::mappings() + dma->left_out().size() ==
          (dma->membership().members == 0 ? 0 : sections));
  }

  /// It refuses, holds and memory stay; abandoned, it is as new.
  void check_diverged(std::string const& before) {
    CHECK_MESSAGE(state() != before, "it says that it has diverged");
    const auto refused = [](auto const& done) { return !done && done.error().is(errc::diverged); };
    CHECK(refused(dma->attach(Machine::second())));
    if (one) CHECK(refused(one->detach()));
    if (Machine::mappings() != 0) CHECK(gate.counts().any_holds != 0);
    // What a device may still reach cannot be freed, whatever the guest does.
    const bool may_be_reached = Machine::mappings() != 0;
    auto change = guest.begin(commit_kind::compulsory);
    for (const region_id id : {low_region, high_region})
      static_cast<void>(change.set_enabled(id, false));
    static_cast<void>(must(change.commit()));
    if (may_be_reached)
      CHECK(low.backing().references() + high.backing().references() +
                spare.backing().references() >
            2);
    must(dma->abandon());
    CHECK_FALSE(dma->diverged());
    CHECK(gate.counts() == gate_counts{});
    CHECK(dma->usage() == mapped_usage{});
    CHECK(Machine::mappings() == 0);
    CHECK(Machine::has_nothing());
    CHECK(Machine::fake::told.empty());
    if (one) CHECK(one->detach().error().is(errc::stale_handle));
    for (const region_id id : {low_region, high_region})
      static_cast<void>(guest.set_enabled(id, true));
    auto anew = must(dma->attach(Machine::first()));
    check_consistent();
    must(anew.detach());
  }

  /// Everything is let go of.
  void check_at_rest() {
    dma.reset();
    CHECK(gate.counts() == gate_counts{});
    CHECK(Machine::fake::told.empty());
    CHECK(Machine::mappings() == 0);
    CHECK(Machine::has_nothing());
    for (ram_block const* block : {&low, &high, &spare})
      CHECK(count(*block).marked == block->size() / frame);
  }
};

template <class T>
result<void> plain(result<T> const& done) {
  return done ? result<void>{} : failure(done.error());
}

template <class World>
std::vector<sweep_operation<World>> operations() {
  const auto nothing = [](World&) {};
  const auto attached = [](World& w) { w.attach_first(); };
  const auto both = [](World& w) {
    w.attach_first();
    w.attach_second();
  };
  std::vector<sweep_operation<World>> all{
      {"attach the first", nothing,
       [](World& w) { return plain(w.dma->attach(World::machine::first())); }},
      {"attach another", attached,
       [](World& w) { return plain(w.dma->attach(World::machine::second())); }},
      {"detach one of two", both, [](World& w) { return w.another->detach(); }},
      {"detach the last", attached, [](World& w) { return w.one->detach(); }},
      {"ask for an unplug", attached, [](World& w) { return w.one->request_unplug(); }},
      {"abandon", both, [](World& w) { return w.dma->abandon(); }},
      {"place RAM", attached,
       [](World& w) { return plain(w.guest.place(region::ram(w.spare), guest_address{2 * MiB})); }},
      {"remove RAM", attached, [](World& w) { return w.guest.remove(w.high_region); }},
      {"move registers in RAM", attached,
       [](World& w) { return w.guest.move(w.registers, guest_address{32 * KiB}); }},
      {"forbid writes", attached,
       [](World& w) { return w.guest.set_read_only(w.high_region, true); }},
      {"disable RAM", attached,
       [](World& w) { return plain(w.guest.set_enabled(w.high_region, false)); }},
      {"enable RAM",
       [](World& w) {
         w.attach_first();
         static_cast<void>(must(w.guest.set_enabled(w.high_region, false)));
       },
       [](World& w) { return plain(w.guest.set_enabled(w.high_region, true)); }},
      // What the guest does cannot be refused: only want of memory stops it before it begins.
      {"disable RAM, compulsorily", attached,
       [](World& w) -> result<void> {
         auto change = w.guest.begin(commit_kind::compulsory);
         for (const region_id id : {w.low_region, w.high_region}) {
           if (auto done = change.set_enabled(id, false); !done) return done;
         }
         return plain(change.commit());
       }},
      {"exchange RAM, compulsorily", attached,
       [](World& w) -> result<void> {
         auto change = w.guest.begin(commit_kind::compulsory);
         if (auto done = change.set_enabled(w.high_region, false); !done) return done;
         if (auto id = change.place(region::ram(w.spare), guest_address{1 * MiB}); !id)
           return failure(id.error());
         return plain(change.commit());
       }},
      {"create KVM's device", nothing, [](World&) { return plain(World::kvm_type::create(1000)); },
       false, true},
      {"use KVM's device", nothing,
       [](World&) { return plain(World::kvm_type::from_descriptor(0)); }, false, true},
      {"exchange RAM", attached,
       [](World& w) -> result<void> {
         auto change = w.guest.begin();
         if (auto done = change.remove(w.high_region); !done) return done;
         if (auto done = change.remove(w.registers); !done) return done;
         if (auto id = change.place(region::ram(w.spare), guest_address{1 * MiB}); !id)
           return failure(id.error());
         return plain(change.commit());
       }},
  };
  if constexpr (World::container_type::backend_type::unit == attach_unit::group) {
    const auto opened = [](World& w) {
      w.attach_first();
      w.device = must(w.one->open(World::machine::device_name));
    };
    all.push_back({"open", attached,
                   [](World& w) { return plain(w.one->open(World::machine::device_name)); }});
    all.push_back({"close", opened, [](World& w) { return w.device->close(); }});
    all.push_back(
        {"detach with a device open", opened, [](World& w) { return w.one->detach(); }, true});
  }
  return all;
}

/// The container is destroyed, and from its `n`-th call on `times` fail. Answers whether any did.
template <class Machine>
bool destroy_refused(void (*prepare)(world<Machine>&), std::uint64_t n, std::uint64_t times,
                     sweep_figures& figures) {
  CAPTURE(n);
  CAPTURE(times);
  auto w = std::make_unique<world<Machine>>();
  prepare(*w);
  const bool is_mapped_by_others = w->registers_seen.has_value();
  const auto before = w->gate.counts();
  const std::size_t mapped_before = Machine::mappings();
  faulty_kernel::reset();
  faulty_kernel::count_cleanup(true);
  faulty_kernel::fail_at(n, EIO, times);
  w->dma.reset();
  const bool struck = faulty_kernel::fired() != 0;
  faulty_kernel::reset();

  const bool kept = w->gate.counts().any_holds != 0;
  if (!struck) CHECK(kept == is_mapped_by_others);
  // The guest lets go of all; what a device may still reach can be neither freed nor discarded all
  // the same.
  for (const region_id id : {w->low_region, w->high_region}) must(w->guest.remove(id));
  CHECK(tether_test::may_discard(w->gate, discard_kind::uncoordinated) == !kept);
  std::size_t kept_blocks = 0;
  for (ram_block* block : {&w->low, &w->high}) {
    CHECK(count(*block).marked == block->size() / frame);
    const auto freed = block->free();
    if (freed) continue;
    CHECK(freed.error().is(errc::still_in_use));
    kept_blocks += 1;
  }
  if (kept_blocks != 0) CHECK(kept);
  // Nothing was unmapped: because no call was let through, or because the kernel says so.
  if ((n == 1 && times > 1) || Machine::mappings() == mapped_before) CHECK(kept_blocks == 2);
  else if (Machine::mappings() != 0) CHECK(kept_blocks != 0);
  must(w->spare.free());
  if (struck) figures.single += 1;
  if (kept) {
    CHECK(w->gate.counts().any_holds <= before.any_holds);
    figures.diverged += 1;
    w->registers_seen.reset();
    if (!struck) {  // that was all that stood in the way
      CHECK(w->gate.counts() == gate_counts{});
      CHECK(Machine::mappings() == 0);
      CHECK(Machine::has_nothing());
      CHECK(Machine::fake::told.empty());
      for (ram_block* block : {&w->low, &w->high}) must(block->free());
    }
  } else {
    CHECK(w->gate.counts() == gate_counts{});
    CHECK(Machine::mappings() == 0);
    CHECK(Machine::has_nothing());
    CHECK(Machine::fake::told.empty());
    if (struck) figures.not_needed += 1;
  }
  return struck;
}

template <class Machine>
void sweep_destruction(const char* name) {
  using world_type = world<Machine>;
  const auto attached = [](world_type& w) { w.attach_first(); };
  const auto both = [](world_type& w) {
    w.attach_first();
    w.attach_second();
  };
  const auto watched = [](world_type& w) {
    w.attach_first();
    if constexpr (world_type::container_type::backend_type::unit == attach_unit::group) {
      w.device = must(w.one->open(Machine::device_name));
      w.registers_seen.emplace(must((*w.device)->map_bar(0)));
    } else {
      w.registers_seen.emplace(must((*w.one)->map_bar(0)));
    }
  };
  sweep_figures figures;
  for (void (*prepare)(world_type&) : {+attached, +both, +watched}) {
    figures.operations += 1;
    for (const std::uint64_t times : {std::uint64_t{1}, std::uint64_t{1} << 32}) {
      for (std::uint64_t n = 1; destroy_refused<Machine>(prepare, n, times, figures);) ++n;
    }
  }
  CHECK(figures.diverged > 2);
  CHECK(figures.not_needed > 2);
  figures.print(name);
}

template <class Machine>
void sweep_machine(const char* name) {
  sweep_figures figures;
  for (auto const& one : operations<world<Machine>>()) {
    sweep(one, figures);
    for (const int errno_value : {ENOMEM, EBUSY})
      sweep(one, figures, {.errno_value = errno_value, .in_pairs = false});
    sweep(one, figures, {.cleanup = true, .in_pairs = false});
  }
  CHECK(figures.taken_back != 0);
  CHECK(figures.diverged != 0);
  figures.print(name);
}

}  // namespace

TEST_CASE(
    "whichever system call or allocation of an operation fails, and the undo with it, a container "
    "on VFIO's type1 is as before or says "
    "that it is not") {
  sweep_machine<on_type1>("on type1 with KVM, four ways to fail");
}
TEST_CASE(
    "whichever system call or allocation of an operation fails, and the undo with it, a container "
    "on iommufd is as before or says that it "
    "is not") {
  sweep_machine<on_iommufd>("on iommufd with KVM, four ways to fail");
}

TEST_CASE(
    "a container whose end is refused at any call keeps what a device may still reach, memory and "
    "holds, on VFIO's type1") {
  sweep_destruction<on_type1>("of a container's end on type1 with KVM");
}
TEST_CASE(
    "a container whose end is refused at any call keeps what a device may still reach, memory and "
    "holds, on iommufd") {
  sweep_destruction<on_iommufd>("of a container's end on iommufd with KVM");
}

}  // namespace exhaustive_fault_sweep_kernels
