// SPDX-License-Identifier: BSL-1.0
// What a user is told of a running machine: where its memory is, and who holds discards down.
#pragma once

#include "machine.hpp"
#include "sentence.hpp"

#include <tether/inhibit/kinds.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <vector>

namespace vmm {

/// The bytes of a block that the host has memory for.
[[nodiscard]] inline std::uint64_t resident_bytes(tether::ram_block const& block) {
  std::vector<unsigned char> pages(block.size() / (4 * KiB));
  if (::mincore(block.data(), block.size(), pages.data()) != 0) return 0;
  return 4 * KiB * static_cast<std::uint64_t>(std::ranges::count_if(pages, [](unsigned char page) {
           return (page & 1) != 0;
         }));
}

/// What the kernel counts as locked or pinned by this process (VmLck: vfio_type1; VmPin: iommufd,
/// where it counts by process). Units: bytes.
[[nodiscard]] inline std::uint64_t pinned_bytes() {
  std::ifstream status{"/proc/self/status"};
  std::uint64_t all = 0;
  for (std::string word; status >> word;) {
    std::uint64_t kib = 0;
    if ((word == "VmLck:" || word == "VmPin:") && status >> kib) all += kib * KiB;
  }
  return all;
}

/// What is where, in one line, and a line for each who holds discards down.
[[nodiscard]] inline std::string status_of(machine& of) {
  std::string text;
  const auto add = [&](std::string_view name, std::uint64_t bytes) {
    text.append(text.empty() ? "" : ", ").append(name).append(" ").append(in_words(bytes));
  };
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  std::uint64_t discarded = 0;
  for (auto const& [block, at] : of.memory()) {
    size += block->size();
    resident += resident_bytes(*block);
    if (auto const* const units = block->backing().population())
      discarded += units->discarded_bytes();
  }
  of.with_devices([&](balloon_device const& balloon, memory_device const* hotplug) {
    if (hotplug == nullptr) {
      add("memory", size);
    } else {
      const auto now = hotplug->model().config();
      add("memory", size - now.region_size + now.plugged_size);
      text += " of " + in_words(size - now.region_size + now.requested_size) + " (at most " +
              in_words(size) + ", " + std::to_string(hotplug->refused()) + " requests refused)";
    }
    add("balloon", balloon.actual());
    text += " of " + in_words(balloon.target());
    if (balloon.guest_free()) add("free in the guest", *balloon.guest_free());
    add("resident", resident);
    add("discarded in blocks", discarded);
    const auto mapped = of.passthrough().usage();
    add("mapped", mapped.bytes);
    text += " in " + std::to_string(mapped.mappings);
    add("pinned", pinned_bytes());
    auto const& in = balloon.inflated();
    auto const& out = balloon.deflated();
    text += "\nframes inflated " + std::to_string(in.requested) + ": discarded " +
            std::to_string(in.discarded) + ", inhibited " + std::to_string(in.inhibited) +
            ", waiting for their block " + std::to_string(in.waiting) + ", busy " +
            std::to_string(in.busy) + ", failed " +
            std::to_string(in.errors + in.partial + in.not_ram) + "; blocks gone " +
            std::to_string(in.units_discarded) + ", brought back " +
            std::to_string(out.units_populated) + ", fenced " + std::to_string(out.units_fenced) +
            "; frames deflated " + std::to_string(out.requested) + ", reported " +
            std::to_string(balloon.reported().discarded) + "; microseconds inflating " +
            std::to_string(balloon.time_inflating().count()) + ", deflating " +
            std::to_string(balloon.time_deflating().count());
    if (in.first_error) text += "\nfirst error: " + in.first_error->sentence();
    if (in.advice != nullptr) text.append("\ninhibited: ").append(in.advice);
  });
  text += '\n';
  of.gate().for_each_holder([&](tether::holder_info const& who) {
    if (who.count == 0) return;
    text.append("held by '").append(who.name).append("': ").append(name_of(who.what));
    if (who.what == tether::entry_kind::any_hold) text += ", nothing may be discarded";
    if (who.what == tether::entry_kind::uncoordinated_hold) text += ", whole blocks may go";
    text += '\n';
  });
  if (auto broken = of.broken(); !broken.empty())
    text += "the guest's driver broke the protocol of:" + broken + '\n';
  return text;
}

/// Ranges of the guest's addresses whose blocks are discarded.
[[nodiscard]] inline std::string discarded_of(machine const& of) {
  std::string text;
  for (auto const& [block, at] : of.memory()) {
    auto const* const units = block->backing().population();
    if (units == nullptr) continue;
    for (std::uint64_t unit = 0; unit < units->units(); ++unit) {
      if (units->is_populated(unit)) continue;
      std::array<char, 32> line{};
      std::snprintf(line.data(), line.size(), "0x%llx\n",
                    static_cast<unsigned long long>(at + unit * units->unit_size()));
      text += line.data();
    }
  }
  return text;
}

}  // namespace vmm
