// SPDX-License-Identifier: BSL-1.0
// A guest that maps one memory twice, read-only at the lower address. A join pins in the order of
// addresses, so on Linux 6.1 an absent page first gets the shared zero page there, and only then a
// page of its own (law 15). An audit cannot see it: it knows only the CPU's page.
//
//     guest    0 [ alias: read-only ]   ...   16 MiB [ ram: read-write ]
//     device     the zero page                frame 977                     the CPU has 977
#pragma once

#include <system/in_machine.hpp>

#include <array>

namespace in_machine {

inline constexpr std::uint64_t alias_at = 0;
inline constexpr std::uint64_t ram_at = 16 * MiB;
inline constexpr std::uint32_t aliased_pages = 64;
inline constexpr std::uint64_t compared = 64;  // bytes

/// How many of the bytes that the device reads at `at` are not what the CPU has at `host`.
template <class Device>
std::uint64_t stale(edu::engine<Device>& running, std::uint64_t at, std::byte const* host) {
  std::array<std::byte, compared> seen{};
  seen.fill(std::byte{0x77});
  must(running.dma_read(io_address{at}, seen));
  std::uint64_t different = 0;
  for (std::uint64_t i = 0; i < compared; ++i) different += seen[i] != host[i] ? 1U : 0U;
  return different;
}

/// The guest of the other cases with its RAM moved up, and its alias below.
template <class Backend, class... Policies>
struct aliased_on : vm_on<Backend, Policies..., audited> {
  aliased_on() : vm_on<Backend, Policies..., audited>{aliased_pages * page} {
    must(this->guest.remove(this->ram_region));
    this->ram_region = must(this->guest.place(region::ram(this->ram), guest_address{ram_at}));
    static_cast<void>(must(this->guest.place(region::ram(this->ram).named("alias").read_only(),
                                             guest_address{alias_at})));
  }

  void fill(std::byte with) {
    std::ranges::fill(std::span{this->ram.data(), this->ram.size()}, with);
  }

  /// The device of a group that has joined reads what the CPU writes now, through both mappings.
  template <class Group>
  void device_and_cpu_agree(Group& group, unsigned turn) {
    auto device = must(group.open(edu_address()));
    auto running = this->drive(*device);
    for (std::uint64_t at = 0; at < this->ram.size(); at += page)
      std::ranges::copy(pattern(at / page, turn, page), this->ram.data() + at);
    for (const std::uint64_t offset : {std::uint64_t{0}, this->ram.size() - compared}) {
      CHECK(stale(running, alias_at + offset, this->ram.data() + offset) == 0);
      CHECK(stale(running, ram_at + offset, this->ram.data() + offset) == 0);
    }
    const auto report = must(audit(this->dma));
    CHECK(report.clean());
    CHECK(report.by_frame_number);
    CHECK(report.compared == 2 * this->ram.size() + this->mailbox.size());
  }
};
template <class... Policies>
using aliased = aliased_on<vfio_type1, Policies...>;

/// The same without tether: mappings, and a device that reads.
struct aliased_by_hand {
  void map() {
    must(iommu.map(
        {{io_address{alias_at}, io_address{alias_at + ram.size() - 1}}, ram.host(), access::read}));
    must(iommu.map({{io_address{ram_at}, io_address{ram_at + ram.size() - 1}}, ram.host()}));
    must(iommu.map({{io_address{mailbox_at}, io_address{mailbox_at + page - 1}},
                    mailbox.host(),
                    access::read_write,
                    memory_kind::shared}));
  }
  /// Stale bytes behind the alias, once the CPU has written.
  template <class Group>
  std::uint64_t stale_in(Group& group) {
    auto device = must(iommu.open(group, edu_address()));
    std::uint64_t different = 0;
    {
      auto running = must(engine::start(device, mailbox.data(), io_address{mailbox_at}));
      std::ranges::fill(std::span{ram.data(), ram.size()}, std::byte{0xaa});
      different = stale(running, alias_at, ram.data());
      CHECK(stale(running, ram_at, ram.data()) == 0);
    }
    must(iommu.close(device));
    return different;
  }

  ram_block ram = must(ram_block::allocate("ram", aliased_pages* page));
  ram_block mailbox = must(ram_block::allocate("mailbox", page, memory_kind::shared));
  vfio_type1 iommu;
};

}  // namespace in_machine
