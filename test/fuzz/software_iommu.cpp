// SPDX-License-Identifier: BSL-1.0
// The software IOMMU against a map with one entry a page: what it maps, refuses and unmaps, and
// every byte that its devices read and write, with extents that are ragged, wrap, lie in holes, or
// meet the end of 2^64.
#include "input.hpp"

#include <tether/backend/software_iommu.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace tether;
using tether_fuzz::demand;
using tether_fuzz::input;

namespace {

constexpr std::uint64_t page = 4 * KiB;
constexpr std::uint64_t window_pages = 48;  // I/O addresses that the programs play with
constexpr std::uint64_t host_pages = 12;
constexpr std::uint64_t budget = 10;

alignas(page) std::array<std::byte, host_pages * page> memory;
alignas(page) std::array<std::byte, host_pages * page> expected;

/// One page of I/O addresses.
struct entry {
  std::uint64_t host = 0;
  tether::access rights = tether::access::none;
  std::uint64_t mapping = 0;  // which call mapped it
};

struct reference {
  std::uint64_t smallest;
  std::vector<extent<io_address>> usable;
  std::map<std::uint64_t, entry> pages;  // by page number
  std::uint64_t mappings = 0;
  std::uint64_t calls = 0;

  reference(std::uint64_t smallest_page, std::vector<extent<io_address>> ranges)
      : smallest{smallest_page}, usable{std::move(ranges)} {}

  /// What `map` answers: nothing, or the cause, in the order in which it looks.
  [[nodiscard]] std::optional<errc> map(mapping const& what) {
    const auto first = what.where.first.value;
    const auto last = what.where.last.value;
    if (last < first || what.host.value + (last - first) < what.host.value)
      return errc::invalid_extent;
    if (what.rights == tether::access::none) return errc::access_denied;
    if (first % smallest != 0 || last % smallest != smallest - 1 || what.host.value % smallest != 0)
      return errc::not_aligned;
    for (auto const& [number, one] : pages)
      if (number >= first / page && number <= last / page) return errc::overlaps;
    if (mappings == budget) return errc::over_budget;
    if (std::none_of(usable.begin(), usable.end(), [&](auto const& one) {
          return one.first.value <= first && last <= one.last.value;
        }))
      return errc::outside_aperture;
    calls += 1;
    mappings += 1;
    for (std::uint64_t number = first / page; number <= last / page; ++number) {
      pages[number] = {what.host.value + (number * page - first), what.rights, calls};
      if (number == last / page) break;
    }
    return std::nullopt;
  }

  [[nodiscard]] std::optional<errc> unmap(extent<io_address> where) {
    if (where.last < where.first) return errc::invalid_extent;
    const auto from = where.first.value / page;
    const auto to = where.last.value / page;
    // An end that lies in a mapping must be that mapping's own end.
    const auto head = pages.find(from);
    if (head != pages.end() && (where.first.value % page != 0 || is_one_with(from, -1)))
      return errc::cuts_a_mapping;
    const auto tail = pages.find(to);
    if (tail != pages.end() && (where.last.value % page != page - 1 || is_one_with(to, 1)))
      return errc::cuts_a_mapping;
    for (std::uint64_t number = from;; ++number) {
      if (!pages.contains(number)) return errc::not_mapped;
      if (number == to) break;
    }
    std::set<std::uint64_t> gone;
    for (std::uint64_t number = from;; ++number) {
      gone.insert(pages.at(number).mapping);
      pages.erase(number);
      if (number == to) break;
    }
    mappings -= gone.size();
    return std::nullopt;
  }

  /// Where a byte goes.
  [[nodiscard]] entry const* find(std::uint64_t iova) const {
    const auto at = pages.find(iova / page);
    return at == pages.end() ? nullptr : &at->second;
  }

 private:
  [[nodiscard]] bool is_one_with(std::uint64_t number, int step) const {
    const auto neighbour =
        pages.find(number + static_cast<std::uint64_t>(static_cast<std::int64_t>(step)));
    return neighbour != pages.end() && neighbour->second.mapping == pages.at(number).mapping;
  }
};

template <class T>
void agree(result<T> const& done, std::optional<errc> cause, const char* what) {
  if (!cause && !done)
    tether_fuzz::found(std::string{what} + " refuses what it must do: " + done.error().sentence());
  if (cause && done) tether_fuzz::found(std::string{what} + " does what it must refuse");
  if (cause && !done.error().is(*cause))
    tether_fuzz::found(std::string{what} + " gives another cause: " + done.error().sentence());
}

struct program {
  input& in;
  std::uint64_t origin;
  reference model;
  software_iommu iommu;
  detail::joined_endpoint_group group;
  std::optional<software_device> device;

  /// An address in the window, mostly on a page.
  std::uint64_t place() {
    const std::uint64_t at = origin + in.below(window_pages) * page;
    return in.below(8) == 0 ? at + in.byte() * 16 : at;
  }
  std::uint64_t span() { return in.below(8) == 0 ? in.number() : (1 + in.below(6)) * page; }

  void map() {
    mapping what;
    what.where.first = io_address{place()};
    what.where.last = what.where.first + (span() - 1);
    const std::uint64_t size = what.where.last - what.where.first + 1;
    // What is mapped must be ours; what is refused need not be.
    const std::uint64_t host_page = in.below(host_pages);
    what.host = host_address{reinterpret_cast<std::uintptr_t>(memory.data()) + host_page * page};
    if (in.below(16) == 0) what.host = host_address{what.host.value + in.byte()};
    what.rights = static_cast<tether::access>(in.below(16) == 0 ? 0 : 1 + in.below(3));
    const bool ours =
        size != 0 &&
        what.host.value - reinterpret_cast<std::uintptr_t>(memory.data()) + size <= memory.size() &&
        size <= memory.size();
    if (!ours && what.where.first <= what.where.last) {
      // wraps, unless it is one byte: refused either way
      if (in.below(4) != 0) what.host = host_address{~std::uint64_t{0}};
      else what.rights = tether::access::none;
    }
    agree(iommu.map(what), model.map(what), "map");
  }
  void unmap() {
    extent<io_address> where{io_address{place()}, io_address{0}};
    where.last = where.first + (span() - 1);
    if (in.flag()) {  // what really is there, perhaps with its neighbours
      const auto at = model.pages.lower_bound(where.first.value / page);
      if (at != model.pages.end()) {
        where.first = io_address{at->first * page};
        auto end = at;
        const bool neighbours = in.flag();
        while (std::next(end) != model.pages.end() && std::next(end)->first == end->first + 1 &&
               (neighbours || std::next(end)->second.mapping == at->second.mapping))
          ++end;
        where.last = io_address{end->first * page + (page - 1)};
      }
    }
    agree(iommu.unmap(where), model.unmap(where), "unmap");
  }
  void transfer(bool writes) {
    const std::uint64_t at = place() + (in.flag() ? in.byte() : page - 1 - in.byte() % 64);
    std::vector<std::byte> bytes(in.flag() ? in.byte() : in.below(4) * page + in.byte());
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>(i * 31 + bytes.size());
    std::optional<errc> cause;
    if (!device) return;
    if (!bytes.empty() && at + (bytes.size() - 1) < at) cause = errc::invalid_extent;
    // The bytes of one page after the other.
    struct part {
      std::uint64_t first;
      std::uint64_t size;
      std::byte* expected;
    };
    std::vector<part> parts;
    bool denied = false;
    for (std::uint64_t i = 0, next = 0; !cause && i < bytes.size(); i = next) {
      next = std::min<std::uint64_t>(bytes.size(), i + (page - (at + i) % page));
      entry const* const there = model.find(at + i);
      if (there == nullptr) {
        cause = errc::not_mapped;
        break;
      }
      denied =
          denied || !allows(there->rights, writes ? tether::access::write : tether::access::read);
      parts.push_back({i, next - i,
                       expected.data() + (there->host + (at + i) % page -
                                          reinterpret_cast<std::uintptr_t>(memory.data()))});
    }
    if (!cause && denied) cause = errc::access_denied;
    auto const before = bytes;
    agree(
        writes ? device->dma_write(io_address{at}, bytes) : device->dma_read(io_address{at}, bytes),
        cause, writes ? "DMA write" : "DMA read");
    if (cause) {
      demand(bytes == before, "a refused read moves nothing");
      return;
    }
    // In the order of the bytes: two pages of the window may be one page of memory.
    for (auto const& one : parts) {
      if (writes) std::memcpy(one.expected, bytes.data() + one.first, one.size);
      else
        demand(std::memcmp(one.expected, bytes.data() + one.first, one.size) == 0,
               "a device reads the bytes that are mapped there");
    }
  }

  void run() {
    while (!in.empty()) {
      switch (in.below(8)) {
        case 0:
        case 1:
        case 2: map(); break;
        case 3: unmap(); break;
        case 4: transfer(true); break;
        case 5: transfer(false); break;
        case 6:
          if (device && in.flag()) {
            demand(iommu.close(*device).has_value(), "an open device is closed");
            agree(device->dma_read(io_address{place()}, {memory.data(), 1}), errc::stale_handle,
                  "a closed device");
            device.reset();
          } else if (!device) {
            device.emplace(std::move(*iommu.open(group, "engine")));
          }
          break;
        default: demand(iommu.quiesce().has_value(), "quiescing never fails"); break;
      }
      demand(iommu.free_mappings() == budget - model.mappings,
             "what is free is the budget without what is mapped");
    }
    demand(std::memcmp(memory.data(), expected.data(), memory.size()) == 0,
           "memory has exactly what the devices wrote");
    const bool open = device.has_value();
    agree(iommu.abandon(), open ? std::optional{errc::still_in_use} : std::nullopt, "abandon");
    if (open) return;
    demand(iommu.free_mappings() == budget, "nothing is left mapped");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  input in{data, size};
  std::memset(memory.data(), 0, memory.size());
  std::memset(expected.data(), 0, expected.size());
  // At the beginning, somewhere, or with the last page of 2^64.
  const std::array<std::uint64_t, 4> origins{0, 0xfee0'0000 - 8 * page, 64 * GiB,
                                             0 - window_pages * page};
  const std::uint64_t origin = origins[in.below(4)];
  software_iommu_options options;
  options.budget = budget;
  const std::uint64_t smallest = in.below(4) == 0 ? 2 * page : page;
  options.page_sizes = {smallest | 2 * MiB};
  if (in.flag()) {  // two ranges that touch, then a hole
    const std::uint64_t touch = origin + 20 * page;
    options.usable = {
        {io_address{origin}, io_address{touch - 1}},
        {io_address{touch}, io_address{touch + 8 * page - 1}},
        {io_address{touch + 10 * page}, io_address{origin + (window_pages * page - 1)}}};
  } else {
    options.usable = {extent<io_address>::everything()};
  }
  reference model{smallest, options.usable};
  software_iommu iommu{options};
  auto group = iommu.join({"engines", {{"engine", pin_class::pins}}});
  demand(group.has_value(), "a group joins");
  auto device = iommu.open(*group, "engine");
  demand(device.has_value(), "a device opens");
  program{in, origin, std::move(model), std::move(iommu), std::move(*group), std::move(*device)}
      .run();
  return 0;
}
