// SPDX-License-Identifier: BSL-1.0
// A guest of divided memory for fuzz targets: whose pages a CPU, a device and the kernel are asked
// for after each step, with a container that maps in blocks, attaches and detaches, and may fail.
#pragma once

#include "input.hpp"

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/core/address.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace tether_fuzz {

constexpr std::uint64_t page = 4 * tether::KiB;
constexpr std::uint64_t unit = 4 * page;
constexpr std::uint64_t units = 8;
constexpr tether::guest_address ram_at{16 * unit};

/// The same memory for every input, with a unit before it and one behind it that are nobody's.
inline std::byte* host_memory() {
  static std::byte* const at = [] {
    void* const made = ::mmap(nullptr, (units + 3) * unit, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::madvise(made, (units + 3) * unit, MADV_NOHUGEPAGE);
    return reinterpret_cast<std::byte*>(
        tether::round_up(reinterpret_cast<std::uintptr_t>(made), unit) + unit);
  }();
  return at;
}

class divided_guest {
 public:
  using container_type =
      tether::container<tether::recording<tether::software_iommu>, tether::fixed_block<unit / 2>>;

  divided_guest() {
    std::memset(ram.data() - unit, 0x5a, (units + 2) * unit);
    demand(tether::divide(ram, unit).has_value(), "memory is divided");
    region = *guest.place(tether::region::ram(ram), ram_at);
  }
  divided_guest(divided_guest const&) = delete;
  divided_guest& operator=(divided_guest const&) = delete;
  ~divided_guest() {
    book.clear_faults();
    if (dma.diverged()) demand(dma.abandon().has_value(), "a container is abandoned");
  }

  [[nodiscard]] tether::population& all() const { return *ram.backing().population(); }
  [[nodiscard]] std::byte* first_of(std::uint64_t which) const { return ram.data() + which * unit; }

  /// Attaches or detaches, unless that has diverged; then it is abandoned.
  void change_container() {
    if (dma.diverged()) {
      book.clear_faults();
      demand(dma.abandon().has_value(), "a container is abandoned");
      nic.reset(), group.reset();
    } else if (group) {
      if (group->detach().has_value()) nic.reset(), group.reset();
    } else if (auto made =
                   dma.attach(tether::endpoint_group{"nics", {{"nic", tether::pin_class::pins}}});
               made) {
      group.emplace(*made);
      if (auto opened = group->open("nic"); opened) nic.emplace(*opened);
    }
  }
  /// A call to the backend will fail, so that nothing happens, or so that nobody knows.
  void add_fault(input& in) {
    const auto what = in.flag() ? tether::backend_call::map : tether::backend_call::unmap;
    const tether::error why{"injected", tether::errc::memory_gone};
    const std::uint64_t nth = 1 + in.below(4);
    if (in.below(4) == 0) book.fail_after(what, nth, why);
    else book.fail_at(what, nth, why);
  }
  [[nodiscard]] bool may_fail() const { return book.faults_left() != 0 || dma.diverged(); }

  /// A device reaches what is there, except where `may_lack(unit)`, and nothing of what is gone; it
  /// sees what the CPU sees. What is nobody's has kept every byte.
  template <class MayLack>
  void check(MayLack may_lack) {
    for (std::byte const* one : {ram.data() - unit, ram.data() + units * unit})
      demand(*one == std::byte{0x5a} && std::memcmp(one, one + 1, unit - 1) == 0,
             "memory beside the guest's keeps every byte");
    std::uint64_t gone = 0;
    for (std::uint64_t which = 0; which < units; ++which) gone += all().is_populated(which) ? 0 : 1;
    demand(all().discarded_bytes() == gone * unit, "what is gone is counted");
    if (!nic || dma.diverged()) return;
    std::array<std::byte, unit> seen{};
    for (std::uint64_t which = 0; which < units; ++which) {
      const tether::io_address at{ram_at.value + which * unit};
      const bool reached = (*nic)->dma_read(at, seen).has_value();
      const bool placed = guest.view()->find(ram_at) != nullptr;
      if (!placed || !all().is_populated(which)) {
        demand(!reached, "a device reaches what is gone");
        demand(!(*nic)->dma_read(at, std::span{seen}.first(1)), "a device reaches half of a unit");
        continue;
      }
      if (!reached && may_lack(which)) continue;
      demand(reached, "a device does not reach what is there");
      demand(std::memcmp(seen.data(), first_of(which), unit) == 0,
             "a device sees other bytes than the CPU");
    }
  }

  tether::ram_block ram = std::move(*tether::ram_block::borrow(
      "ram", tether::host_address{reinterpret_cast<std::uintptr_t>(host_memory())}, units* unit,
      tether::memory_kind::private_anonymous));
  tether::address_space guest;
  tether::discard_gate<> gate;
  tether::journal book;
  container_type dma{guest, gate, tether::recording<tether::software_iommu>{book}};
  tether::region_id region{};
  std::optional<container_type::attached> group;
  std::optional<container_type::opened> nic;
};

}  // namespace tether_fuzz
