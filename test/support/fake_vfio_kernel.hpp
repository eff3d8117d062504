// SPDX-License-Identifier: BSL-1.0
// A fake kernel with VFIO, for tests without hardware: containers, groups and devices, with the
// checks of Linux's type1 driver in its order. All other calls go to Linux, and any call can be
// made to fail (faulty_kernel).
//
//     descriptor --> file --> container { entries, members }  <-- group { devices } <-- device
//     each descriptor is a real one as well, so that leaks show up in /proc/self/fd
#pragma once

#include <support/fake_lock_limit.hpp>
#include <support/fake_vfio_device.hpp>
#include <support/faulty_kernel.hpp>
#include <support/process_facts.hpp>

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>

#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <utility>
#include <vector>

namespace tether_test {

/// The properties of a group, chosen by the test.
struct fake_group {
  std::vector<std::string> devices{"0000:01:00.0"};
  bool pins = true;
  bool viable = true;
  std::uint64_t page_sizes = 0x4020'1000;
  std::vector<tether::extent<tether::io_address>> usable{
      {tether::io_address{0}, tether::io_address{0xfedf'ffff}},
      {tether::io_address{0xfef0'0000}, tether::io_address{0x7f'ffff'ffff}}};
  // minor number of its node, under major 509; else what its path ends in
  std::optional<unsigned> number{};
  std::map<std::string, std::string> tokens{};  // of devices that want one
};

/// The kernel's whole state; process-wide, like a real kernel's. Not thread-safe.
class fake_vfio {
 public:
  struct entry {
    std::uint64_t last;
    std::uint64_t host;
    std::uint32_t flags;
    friend bool operator==(entry const&, entry const&) = default;
  };
  struct group;
  struct container {
    bool set = false;
    std::map<std::uint64_t, entry> entries{};
    std::set<group const*> members{};
  };
  struct group {
    fake_group is;
    bool open = false;
    unsigned descriptors = 0;
    unsigned devices_open = 0;  // descriptors of devices, and mapped BARs
    std::shared_ptr<container> in{};
  };
  struct file {
    std::shared_ptr<container> as_container{};
    group* as_group = nullptr;
    group* of_group = nullptr;  // of a device
  };

  std::map<std::string, group> groups;  // by path
  std::map<int, file> files;
  std::map<std::uint64_t, group*> bars;  // by address
  std::uint32_t entry_limit = 65535;
  std::uint64_t lockable = ~std::uint64_t{0};  // bytes
  int api_version = VFIO_API_VERSION;
  bool type1v2 = true;
  bool unmap_all = true;
  bool tells_available = true;
  /// An iommufd stands in for containers: a group counts only while a device of it is open.
  bool is_iommufd = false;
  int set_iommu_errno = 0;
  std::uint64_t unmaps_too_little = 0;  // bytes by which an unmap under-reports
  // reported instead of the real information, if not empty
  std::vector<std::byte> info_to_tell{};
  std::vector<unsigned long> requests{};    // every ioctl
  std::map<unsigned long, int> refusals{};  // ioctls that fail, each with an errno

  /// Everything that a failure must leave unchanged: open devices and groups, and all mappings.
  [[nodiscard]] std::vector<std::pair<std::uint64_t, entry>> mapped() const {
    std::vector<std::pair<std::uint64_t, entry>> all;
    for (auto const& [number, one] : files) {
      if (one.as_container)
        all.insert(all.end(), one.as_container->entries.begin(), one.as_container->entries.end());
    }
    return all;
  }

  /// Locked by what is pinned. Units: bytes.
  [[nodiscard]] std::uint64_t locked() const {
    std::uint64_t bytes = 0;
    for (auto const& [number, one] : files) {
      if (!one.as_container || !pinning(*one.as_container)) continue;
      for (auto const& [first, what] : one.as_container->entries) bytes += what.last - first + 1;
    }
    return bytes;
  }

  std::int64_t open(const char* path) {
    if (std::string{"/dev/vfio/vfio"} == path)
      return give({std::make_shared<container>(), nullptr, nullptr});
    const auto at = groups.find(path);
    if (at == groups.end()) return -ENOENT;
    if (at->second.open) return -EBUSY;
    at->second.open = true;
    at->second.descriptors = 1;
    return give({nullptr, &at->second, nullptr});
  }
  void duplicated(int from, int to) {
    const auto at = files.find(from);
    if (at == files.end()) return;
    files[to] = at->second;
    if (at->second.as_group != nullptr) ++at->second.as_group->descriptors;
  }
  void closed(int descriptor) {
    const auto at = files.find(descriptor);
    if (at == files.end()) return;
    const file gone = at->second;
    files.erase(at);
    if (gone.of_group != nullptr) release_device(*gone.of_group);
    if (gone.as_group != nullptr && --gone.as_group->descriptors == 0) release(*gone.as_group);
  }
  [[nodiscard]] bool is_device(int descriptor) const {
    const auto at = files.find(descriptor);
    return at != files.end() && at->second.of_group != nullptr;
  }
  void mapped_bar(int descriptor, std::int64_t at) {
    const auto found = files.find(descriptor);
    if (at < 0 || found == files.end() || found->second.of_group == nullptr) return;
    ++found->second.of_group->devices_open;
    bars[static_cast<std::uint64_t>(at)] = found->second.of_group;
  }
  void unmapped(std::uint64_t at) {
    const auto found = bars.find(at);
    if (found == bars.end()) return;
    release_device(*found->second);
    bars.erase(found);
  }

  void status(int descriptor, struct stat& into) const {
    const auto at = files.find(descriptor);
    if (at == files.end() || at->second.as_group == nullptr) return;
    group const& one = *at->second.as_group;
    const std::string path = path_of(one);
    into = {};
    into.st_mode = S_IFCHR;
    into.st_rdev = makedev(509, one.is.number.value_or(static_cast<unsigned>(
                                    std::atoi(path.c_str() + (path.rfind('/') + 1)))));
  }

  std::int64_t control(int descriptor, unsigned long request, void* argument) {
    requests.push_back(request);
    if (const auto no = refusals.find(request); no != refusals.end()) return -no->second;
    const auto at = files.find(descriptor);
    if (at == files.end()) return -EBADF;
    if (at->second.as_container)
      return control_container(*at->second.as_container, request, argument);
    if (at->second.as_group != nullptr)
      return control_group(*at->second.as_group, request, argument);
    return at->second.of_group != nullptr ? control_fake_device(request, argument) : -ENOTTY;
  }

  /// DMA by a device, as far as its container allows. Answers 0, or the errno that stands for an
  /// IOMMU fault.
  int dma(group const& of, std::uint64_t at, std::byte* bytes, std::uint64_t size,
          bool device_writes) {
    if (size == 0) return 0;
    const std::uint64_t last = at + (size - 1);
    if (last < at) return EOVERFLOW;
    if (!of.in) return EBADF;
    for (const bool move : {false, true}) {
      for (std::uint64_t done = 0; done < size;) {
        auto one = of.in->entries.upper_bound(at + done);
        if (one == of.in->entries.begin() || (--one)->second.last < at + done) return ENXIO;
        const unsigned right = device_writes ? VFIO_DMA_MAP_FLAG_WRITE : VFIO_DMA_MAP_FLAG_READ;
        if ((one->second.flags & right) == 0) return EACCES;
        const std::uint64_t now = std::min(size - done, one->second.last - (at + done) + 1);
        void* const host = reinterpret_cast<void*>(
            static_cast<std::uintptr_t>(one->second.host + (at + done - one->first)));
        if (move && device_writes) std::memcpy(host, bytes + done, now);
        if (move && !device_writes) std::memcpy(bytes + done, host, now);
        done += now;
      }
    }
    return 0;
  }

  static constexpr std::uint64_t bar_size = fake_bar_size;

 private:
  std::int64_t give(file one) {
    const auto descriptor = tether::linux_kernel::memfd_create("vfio", MFD_CLOEXEC);
    if (descriptor >= 0) files[static_cast<int>(descriptor)] = std::move(one);
    return descriptor;
  }
  void release_device(group& of) {
    --of.devices_open;
    if (of.descriptors == 0) release(of);
  }
  /// The last descriptor of a group was closed: it leaves its container as soon as no device of it
  /// is open.
  void release(group& one) {
    if (one.devices_open != 0) return;
    leave(one);
    one.open = false;
  }
  void leave(group& one) {
    if (!one.in) return;
    one.in->members.erase(&one);
    if (one.in->members.empty()) *one.in = container{};
    one.in.reset();
  }
  std::string path_of(group const& one) const {
    for (auto const& [path, other] : groups) {
      if (&other == &one) return path;
    }
    return {};
  }
  /// Whether its IOMMU is in the container.
  bool counts(group const& one) const {
    return one.is.pins && (!is_iommufd || one.devices_open != 0);
  }
  bool pinning(container const& one) const {
    return std::ranges::any_of(one.members, [&](group const* member) { return counts(*member); });
  }
  std::uint64_t page_sizes(container const& one) const {
    std::uint64_t mask = ~(tether::linux_kernel::page_size() - 1);
    for (group const* const member : one.members) {
      if (counts(*member)) mask &= member->is.page_sizes;
    }
    return mask;
  }
  std::vector<tether::extent<tether::io_address>> usable(container const& one) const {
    std::vector<tether::extent<tether::io_address>> all{
        tether::extent<tether::io_address>::everything()};
    for (group const* const member : one.members) {
      if (!counts(*member)) continue;
      std::vector<tether::extent<tether::io_address>> both;
      for (auto const& a : all) {
        for (auto const& b : member->is.usable) {
          if (const auto common = a.intersection(b)) both.push_back(*common);
        }
      }
      all = both;
    }
    return all;
  }
  static bool within_one(std::vector<tether::extent<tether::io_address>> const& ranges,
                         std::uint64_t first, std::uint64_t last) {
    const tether::extent<tether::io_address> where{tether::io_address{first},
                                                   tether::io_address{last}};
    return std::ranges::any_of(ranges, [&](auto const& one) { return one.contains(where); });
  }
  int pin(std::uint64_t host, std::uint64_t size) const {
    for (std::uint64_t at = host; at < host + size; at += tether::linux_kernel::page_size()) {
      if (!is_mapped(at)) return EFAULT;
    }
    return 0;
  }

  std::int64_t control_container(container& one, unsigned long request, void* argument) {
    switch (request) {
      case VFIO_GET_API_VERSION: return api_version;
      case VFIO_CHECK_EXTENSION: {
        const auto which = reinterpret_cast<std::uintptr_t>(argument);
        return which == VFIO_TYPE1v2_IOMMU ? type1v2 : which == VFIO_UNMAP_ALL ? unmap_all : 0;
      }
      case VFIO_SET_IOMMU:
        if (one.members.empty() || one.set) return -EINVAL;
        if (set_iommu_errno != 0) return -set_iommu_errno;
        one.set = true;
        return 0;
      case VFIO_IOMMU_GET_INFO: return one.set ? tell(one, argument) : -EINVAL;
      case VFIO_IOMMU_MAP_DMA: return one.set ? map(one, argument) : -EINVAL;
      case VFIO_IOMMU_UNMAP_DMA: return one.set ? unmap(one, argument) : -EINVAL;
      case _IO(';', 0x88): return is_iommufd && !one.members.empty() ? 0 : -ENOTTY;
      default: return -ENOTTY;
    }
  }

  /// The order of checks is the driver's.
  std::int64_t map(container& one, void* argument) {
    vfio_iommu_type1_dma_map request{};
    std::memcpy(&request, argument, sizeof request);
    constexpr unsigned rights = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    if (request.argsz < sizeof request || (request.flags & ~rights) != 0 || request.size == 0)
      return -EINVAL;
    const std::uint64_t last = request.iova + (request.size - 1);
    if (last < request.iova || request.vaddr + (request.size - 1) < request.vaddr) return -EINVAL;
    const std::uint64_t mask = page_sizes(one);
    if ((request.flags & rights) == 0 ||
        ((request.size | request.iova | request.vaddr) & ((mask & (~mask + 1)) - 1)) != 0)
      return -EINVAL;
    const auto behind = one.entries.upper_bound(last);
    if (behind != one.entries.begin() && std::prev(behind)->second.last >= request.iova)
      return -EEXIST;
    if (one.entries.size() >= entry_limit) return -ENOSPC;
    if (!within_one(usable(one), request.iova, last)) return -EINVAL;
    if (pinning(one)) {
      if (const int why = pin(request.vaddr, request.size)) return -why;
      if (request.size > lockable - std::min(lockable, locked())) return -ENOMEM;
    }
    one.entries[request.iova] = {last, request.vaddr, request.flags};
    return 0;
  }
  std::int64_t unmap(container& one, void* argument) {
    vfio_iommu_type1_dma_unmap request{};
    std::memcpy(&request, argument, offsetof(vfio_iommu_type1_dma_unmap, data));
    if (request.argsz < offsetof(vfio_iommu_type1_dma_unmap, data)) return -EINVAL;
    if ((request.flags & ~unsigned{VFIO_DMA_UNMAP_FLAG_ALL}) != 0) return -EINVAL;
    std::uint64_t first = request.iova;
    std::uint64_t last = request.iova + (request.size - 1);
    if ((request.flags & VFIO_DMA_UNMAP_FLAG_ALL) != 0) {
      if (!unmap_all || request.iova != 0 || request.size != 0) return -EINVAL;
      first = 0;
      last = ~std::uint64_t{0};
    } else if (request.size == 0 ||
               ((request.size | request.iova) & (tether::linux_kernel::page_size() - 1)) != 0) {
      return -EINVAL;
    } else if (last < first) {
      return -EOVERFLOW;
    }
    for (const std::uint64_t edge : {first, last}) {
      auto at = one.entries.upper_bound(edge);
      if (at == one.entries.begin()) continue;
      --at;
      if (at->second.last < edge) continue;
      if (edge == first ? at->first != first : at->second.last != last) return -EINVAL;
    }
    std::uint64_t removed = 0;
    for (auto at = one.entries.lower_bound(first); at != one.entries.end() && at->first <= last;) {
      removed += at->second.last - at->first + 1;
      at = one.entries.erase(at);
    }
    request.size = removed - unmaps_too_little;
    std::memcpy(argument, &request, offsetof(vfio_iommu_type1_dma_unmap, data));
    return 0;
  }
  std::int64_t tell(container const& one, void* argument) const {
    std::vector<std::byte> said = info_to_tell;
    if (said.empty()) {
      vfio_iommu_type1_info info{};
      info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
      info.iova_pgsizes = page_sizes(one);
      info.cap_offset = sizeof info;
      const auto append = [&](auto const& part) {
        const auto* const bytes = reinterpret_cast<std::byte const*>(&part);
        said.insert(said.end(), bytes, bytes + sizeof part);
      };
      append(info);
      if (pinning(one)) {
        const auto ranges = usable(one);
        // Its struct ends in an array of no elements, so it is written in parts.
        const auto size =
            sizeof(vfio_iommu_type1_info_cap_iova_range) + ranges.size() * sizeof(vfio_iova_range);
        append(vfio_info_cap_header{VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1,
                                    static_cast<std::uint32_t>(said.size() + size)});
        append(std::array<std::uint32_t, 2>{static_cast<std::uint32_t>(ranges.size()), 0});
        for (auto const& range : ranges)
          append(vfio_iova_range{range.first.value, range.last.value});
      }
      vfio_iommu_type1_info_cap_migration migration{};
      migration.header = {VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, 0};
      if (tells_available)
        migration.header.next = static_cast<std::uint32_t>(said.size() + sizeof migration);
      migration.pgsize_bitmap = tether::linux_kernel::page_size();
      append(migration);
      if (tells_available) {
        vfio_iommu_type1_info_dma_avail avail{};
        avail.header = {VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0};
        avail.avail = is_iommufd ? ~std::uint32_t{0}
                                 : entry_limit - static_cast<std::uint32_t>(one.entries.size());
        append(avail);
      }
    }
    std::uint32_t room = 0;
    std::memcpy(&room, argument, sizeof room);
    if (room < offsetof(vfio_iommu_type1_info, cap_offset)) return -EINVAL;
    const auto needed = static_cast<std::uint32_t>(said.size());
    if (info_to_tell.empty() || room < needed) std::memcpy(said.data(), &needed, sizeof needed);
    std::memcpy(argument, said.data(), std::min<std::size_t>(room, said.size()));
    return 0;
  }

  std::int64_t control_group(group& one, unsigned long request, void* argument) {
    switch (request) {
      case VFIO_GROUP_GET_STATUS: {
        vfio_group_status status{};
        status.argsz = sizeof status;
        status.flags = (one.is.viable ? unsigned{VFIO_GROUP_FLAGS_VIABLE} : 0U) |
                       (one.in ? unsigned{VFIO_GROUP_FLAGS_CONTAINER_SET} : 0U);
        std::memcpy(argument, &status, sizeof status);
        return 0;
      }
      case VFIO_GROUP_SET_CONTAINER: {
        int descriptor = -1;
        std::memcpy(&descriptor, argument, sizeof descriptor);
        const auto at = files.find(descriptor);
        if (at == files.end()) return -EBADF;
        if (!at->second.as_container || one.in) return -EINVAL;
        return join(one, at->second.as_container);
      }
      case VFIO_GROUP_UNSET_CONTAINER:
        if (!one.in) return -EINVAL;
        if (one.devices_open != 0 && !is_iommufd) return -EBUSY;
        leave(one);
        return 0;
      case VFIO_GROUP_GET_DEVICE_FD: {
        if (!one.in || !one.in->set) return -EINVAL;
        // "BDF vf_token=UUID", as vfio_pci_core_match reads it
        const std::string asked_for = static_cast<const char*>(argument);
        const std::string name = asked_for.substr(0, asked_for.find(' '));
        if (std::ranges::find(one.is.devices, name) == one.is.devices.end()) return -ENODEV;
        const auto wanted = one.is.tokens.find(name);
        if (wanted == one.is.tokens.end() && name != asked_for) return -EINVAL;
        if (wanted != one.is.tokens.end() && asked_for != name + " vf_token=" + wanted->second)
          return -EACCES;
        if (const int why = attach(one); why != 0) return -why;
        const auto descriptor = give({nullptr, nullptr, &one});
        if (descriptor < 0) return descriptor;
        ++one.devices_open;
        static_cast<void>(
            tether::linux_kernel::ftruncate(static_cast<int>(descriptor), fake_device_size));
        return descriptor;
      }
      default: return -ENOTTY;
    }
  }
  /// Where an iommufd stands in, the first device of a group to be opened brings its IOMMU.
  int attach(group& one) {
    if (!is_iommufd || one.devices_open != 0) return 0;
    const bool was_pinning = pinning(*one.in);
    const auto locked_before = locked();
    one.devices_open = 1;
    const int why = pin_all(*one.in, one, was_pinning, locked_before);
    one.devices_open = 0;
    return why == EINVAL ? EADDRINUSE : why;
  }
  /// Everything that is mapped must be usable for a group that has come.
  int pin_all(container const& in, group const& one, bool was_pinning,
              std::uint64_t locked_before) const {
    for (auto const& [first, what] : in.entries) {
      if (!counts(one)) break;
      if (!within_one(usable(in), first, what.last)) return EINVAL;
      if (was_pinning) continue;
      if (const int why = pin(what.host, what.last - first + 1); why != 0) return why;
    }
    return locked() > lockable && locked() != locked_before ? ENOMEM : 0;
  }
  /// The pin point: everything that is mapped must be usable, or nothing happens.
  std::int64_t join(group& one, std::shared_ptr<container> const& into) {
    const bool was_pinning = pinning(*into);
    const auto locked_before = locked();
    into->members.insert(&one);
    const int why = pin_all(*into, one, was_pinning, locked_before);
    if (why != 0) {
      into->members.erase(&one);
      return -why;
    }
    one.in = into;
    return 0;
  }
};

/// The seam: VFIO calls go to the fake, all others to Linux.
struct fake_vfio_kernel : tether::faulty_kernel {
  using faulty_kernel::answer;

  /// The machine. Ensures after `start_anew`: no group, nothing open; no fault is armed.
  [[nodiscard]] static fake_vfio& machine() {
    static std::unique_ptr<fake_vfio> the_machine = std::make_unique<fake_vfio>();
    return *the_machine;
  }
  static fake_vfio& start_anew() {
    faulty_kernel::reset();
    machine() = fake_vfio{};
    return machine();
  }

  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    if (machine().is_device(descriptor) && !fake_device_maps(offset, size)) return -EINVAL;
    const answer at = faulty_kernel::mmap(size, protection, flags, descriptor, offset);
    machine().mapped_bar(descriptor, at);
    return at;
  }
  [[nodiscard]] static answer munmap(std::uint64_t host, std::uint64_t size) noexcept {
    const answer done = faulty_kernel::munmap(host, size);
    if (done >= 0) machine().unmapped(host);
    return done;
  }
  [[nodiscard]] static answer duplicate(int descriptor) noexcept {
    const answer copy = faulty_kernel::duplicate(descriptor);
    if (copy >= 0) machine().duplicated(descriptor, static_cast<int>(copy));
    return copy;
  }
  [[nodiscard]] static answer close(int descriptor) noexcept {
    machine().closed(descriptor);
    return faulty_kernel::close(descriptor);
  }
  [[nodiscard]] static answer fstat(int descriptor, struct stat& status) noexcept {
    const answer asked = faulty_kernel::fstat(descriptor, status);
    if (asked >= 0) machine().status(descriptor, status);
    return asked;
  }
  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    if (number == SYS_prlimit64 || number == SYS_openat) {
      const auto asked = in_words(arguments...);
      if (asks_lock_limit(number, asked)) {
        if (const int fault = next(tether::kernel_call::numbered)) return -fault;
        return tell_lock_limit(number, asked, machine().lockable, machine().locked());
      }
    }
    if (number != SYS_ioctl && number != SYS_openat)
      return faulty_kernel::call(number, arguments...);
    if (const int fault = next(tether::kernel_call::numbered)) return -fault;
    const auto words = in_words(arguments...);
    if (number == SYS_openat) return machine().open(reinterpret_cast<const char*>(words[1]));
    return machine().control(static_cast<int>(words[0]), words[1],
                             reinterpret_cast<void*>(words[2]));
  }
};

}  // namespace tether_test
