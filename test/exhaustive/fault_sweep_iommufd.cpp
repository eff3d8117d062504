// SPDX-License-Identifier: BSL-1.0
// What iommufd has beside a container's operations: opening a context and a container on it, and
// moving a device between two containers of one context without a gap. Each call and each
// allocation fails, alone and in pairs.
#include <support/fake_iommufd_kernel.hpp>
#include <support/fake_sysfs.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>
#include <support/process_facts.hpp>
#include <support/sweep.hpp>

#include <tether/backend/iommufd.hpp>
#include <tether/backend/iommufd/context.hpp>
#include <tether/backend/vfio/cdev.hpp>
#include <tether/backend/vfio/sysfs.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace exhaustive_fault_sweep_iommufd {

using namespace tether;
using namespace tether_test;

namespace {

using swept_kernel = kernel_with_own_memory<fake_iommufd_kernel>;
using context_type = basic_iommufd_context<swept_kernel>;
using backend_type = basic_iommufd<swept_kernel>;
using device_type = backend_type::device_type;

/// Two devices of different groups, of one kind of IOMMU or of two, as sysfs and nodes have them.
struct plugged {
  fake_sysfs made{};
  plugged() {
    for (const unsigned number : {0U, 1U}) {
      made.add(name(number), "pci", number == 0 ? "12" : "13", "vfio-pci");
      made.add_node(name(number), node(number), "510:" + std::to_string(number));
    }
  }
  static std::string name(unsigned number) { return number == 0 ? "0000:01:00.0" : "0000:02:00.0"; }
  static std::string node(unsigned number) { return "vfio" + std::to_string(number); }
  static std::string path(unsigned number) { return "/dev/vfio/devices/" + node(number); }
  /// Made by the caller of the operation, whose own memory is not what is swept.
  [[nodiscard]] vfio_sysfs sysfs() const {
    const std::uint64_t kept = std::exchange(failing_allocation, 0);
    vfio_sysfs tree{made.root()};
    failing_allocation = kept;
    return tree;
  }
  static plugged const& once() {
    static const plugged all;
    return all;
  }
};

/// One context, two containers on it that have different memory mapped, and a device or two.
struct world {
  struct begin {
    begin() {
      auto& machine = fake_iommufd_kernel::start_anew();
      for (const unsigned number : {0U, 1U}) {
        auto& is = machine.devices[plugged::path(number)].is;
        is.name = plugged::name(number);
        is.group = number == 0 ? "12" : "13";
        is.number = number;
        is.iommu = static_cast<int>(number);
      }
    }
  };
  begin first_of_all;
  host_memory memory{64 * KiB};
  std::optional<context_type> context;
  std::optional<backend_type> from;
  std::optional<backend_type> to;
  std::optional<device_type> device;
  std::optional<device_type> resident;
  const char* reached_when_moved = "the new";
  bool moved = false;

  static fake_iommufd& machine() { return fake_iommufd_kernel::machine(); }

  void open_context() { context = must(context_type::open()); }
  void open_both() {
    open_context();
    from = must(backend_type::open(*context, plugged::once().sysfs()));
    to = must(backend_type::open(*context, plugged::once().sysfs()));
    must(from->map(memory.at(0, 0, 8 * KiB)));
    must(from->map(memory.at(0x10000, 8 * KiB, 8 * KiB)));
    must(to->map(memory.at(0, 16 * KiB, 8 * KiB)));
  }
  /// It had a device and memory, and was abandoned with both.
  void use_and_abandon(backend_type& container) {
    join(resident, container, 1);
    must(container.abandon());
    resident.reset();
  }
  void join(std::optional<device_type>& into, backend_type& container, unsigned number) {
    into = must(container.open(vfio_cdev{plugged::path(number), plugged::once().sysfs()}));
    must(container.bind(*into));
    must(container.join(*into));
  }

  /// All that can be seen.
  [[nodiscard]] std::string state() const {
    std::string all = machine().seen(true);
    for (auto const* one : {&from, &to}) {
      if (!*one) continue;
      all += " container" + std::string{(*one)->pins_now() ? " pins" : ""} + " sizes " +
             std::to_string((*one)->page_sizes().mask) + " in";
      for (auto const& range : (*one)->usable_iova()) {
        all += " " + std::to_string(range.first.value) + "-" + std::to_string(range.last.value);
      }
    }
    all += " device reaches " + reached();
    all += " descriptors";
    for (auto const& [number, target] : descriptors()) all += " " + std::to_string(number);
    return all;
  }
  /// Whose memory the device finds at 0.
  [[nodiscard]] std::string reached() const {
    std::ranges::fill(memory.bytes(), std::byte{0});
    memory.bytes()[0] = std::byte{1};
    memory.bytes()[16 * KiB] = std::byte{2};
    std::byte found{0};
    const int refused = machine().dma(machine().devices.at(plugged::path(0)), 0, &found, 1, false);
    return refused != 0            ? "nothing"
           : found == std::byte{1} ? "the old"
           : found == std::byte{2} ? "the new"
                                   : "something else";
  }

  [[nodiscard]] static bool stuck(result<void> const& done) {
    return !done && done.error().rollback_failed();
  }
  /// Which of two containers has the device is not known, or a page table is left: it can be
  /// abandoned, and then nothing is.
  void check_diverged(std::string const& before) {
    if (!from) {
      // An address space that could not be destroyed: letting go of the container that was not made
      // tries once more.
      CHECK(state() == before);
      to = must(backend_type::open(*context, plugged::once().sysfs()));
      return;
    }
    CHECK_MESSAGE(state() != before, "it says that something was left behind");
    // What the device can reach is what one of them has mapped, whichever it is.
    const std::string now = reached();
    CHECK(now != "something else");
    // The old one first: it may still have the device, which the kernel has moved to the new one's
    // page table.
    must(from->abandon());
    must(to->abandon());
    CHECK(reached() == "nothing");
    CHECK(machine().areas() == 0);
    CHECK(machine().locked() == 0);
    CHECK(device->descriptor() < 0);
    device.reset();
    resident.reset();
    must(from->map(memory.at(0, 0, 8 * KiB)));
    join(device, *from, 0);
    CHECK(reached() == "the old");
  }
  void check_consistent() {
    if (device) CHECK(reached() == (moved ? reached_when_moved : "the old"));
  }
  /// Everything is let go of.
  void check_at_rest() {
    to.reset();
    from.reset();
    device.reset();
    resident.reset();
    CHECK(machine().areas() == 0);
    context.reset();
    CHECK(machine().files.empty());
  }
};

template <class T>
result<void> keep(result<T> made, std::optional<T>& place) {
  if (!made) return failure(made.error());
  place.emplace(std::move(*made));
  return {};
}

result<void> move(world& w) {
  auto done = w.to->replace(*w.from, *w.device);
  w.moved = done.has_value();
  return done;
}

std::vector<sweep_operation<world>> operations() {
  const auto nothing = [](world&) {};
  const auto alone = [](world& w) {
    w.open_both();
    w.join(w.device, *w.from, 0);
  };
  return {
      {"open a context", nothing, [](world& w) { return keep(context_type::open(), w.context); }},
      {"open a context whose limit is the process's", nothing,
       [](world& w) {
         return keep(context_type::open(iommufd_accounting::per_process), w.context);
       }},
      {"open a container", [](world& w) { w.open_context(); },
       [](world& w) {
         return keep(backend_type::open(*w.context, plugged::once().sysfs()), w.to);
       }},
      {"open a container of small pages", [](world& w) { w.open_context(); },
       [](world& w) {
         return keep(backend_type::open(*w.context, plugged::once().sysfs(), {.huge_pages = false}),
                     w.to);
       }},
      {"move the only device", alone, move},
      {"move a device to another one's container, whose page table does not suit it",
       [](world& w) {
         w.open_both();
         w.join(w.resident, *w.to, 1);
         w.join(w.device, *w.from, 0);
       },
       move},
      {"move a device to another one's container, whose page table suits it",
       [](world& w) {
         world::machine().devices.at(plugged::path(1)).is.iommu = 0;
         w.open_both();
         w.join(w.resident, *w.to, 1);
         w.join(w.device, *w.from, 0);
       },
       move},
      {"move a device away from another one",
       [](world& w) {
         w.open_both();
         w.join(w.resident, *w.from, 1);
         w.join(w.device, *w.from, 0);
       },
       move},
      {"move a device to a container that was abandoned before",
       [](world& w) {
         w.open_both();
         w.use_and_abandon(*w.to);
         must(w.to->map(w.memory.at(0, 16 * KiB, 8 * KiB)));
         w.join(w.device, *w.from, 0);
       },
       move},
      // The address space that it allocates first is the container's, empty, and stays when the
      // move fails: so the state is not as before.
      {"move a device to a container that was abandoned before, and that has nothing mapped",
       [](world& w) {
         w.open_both();
         w.use_and_abandon(*w.to);
         w.join(w.device, *w.from, 0);
         w.reached_when_moved = "nothing";
       },
       move, true},
      {"move a device away from a container that was abandoned before",
       [](world& w) {
         w.open_both();
         w.use_and_abandon(*w.from);
         must(w.from->map(w.memory.at(0, 0, 8 * KiB)));
         w.join(w.device, *w.from, 0);
       },
       move},
      {"move a device where the kernel makes page tables itself",
       [](world& w) {
         world::machine().allocates_page_tables = false;
         w.open_both();
         w.join(w.device, *w.from, 0);
       },
       move},
  };
}

}  // namespace

TEST_CASE(
    "whichever call or allocation fails while a context or container is opened, or a device moved, "
    "it is as before or says stuck") {
  sweep_figures figures;
  for (const int errno_value : {EIO, ENOMEM, EBUSY}) {
    for (auto const& one : operations()) sweep(one, figures, {.errno_value = errno_value});
  }
  CHECK(figures.taken_back != 0);
  CHECK(figures.diverged != 0);
  figures.print("of contexts and moves on iommufd, with three errnos");
}

}  // namespace exhaustive_fault_sweep_iommufd
