// SPDX-License-Identifier: BSL-1.0
// A fake kernel with iommufd, for tests without hardware: contexts, address spaces (IOAS), page
// tables (HWPT) and devices, with Linux's checks in Linux's order. All other calls go to Linux, and
// any call can be made to fail (faulty_kernel).
//
//     descriptor --> file --> context { address spaces { areas --> pages }, page tables }  <--bound-- device
//     areas that COPY made share pages, which are pinned once, while a page table maps them
#pragma once

#include <support/fake_vfio_device.hpp>
#include <support/fake_lock_limit.hpp>
#include <support/faulty_kernel.hpp>
#include <support/process_facts.hpp>

#include <tether/backend/iommufd/uapi.hpp>
#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <utility>
#include <vector>

namespace tether_test {

/// The properties of a device, chosen by the test.
struct fake_cdev {
  std::string name = "0000:01:00.0";
  std::string group = "12";
  bool mediated = false;
  int iommu = 0;  // the kind of IOMMU: a page table made for one kind does not suit another
  std::uint64_t alignment = 4096;
  tether::extent<tether::io_address> aperture{tether::io_address{0},
                                              tether::io_address{0x7f'ffff'ffff}};
  std::vector<tether::extent<tether::io_address>> reserved{
      {tether::io_address{0xfee0'0000}, tether::io_address{0xfeef'ffff}}};
  unsigned number = 0;                // minor number of its node, under major 510
  bool busy = false;                  // its group has another owner
  std::vector<std::uint8_t> token{};  // empty: it wants none
};

/// The kernel's whole state; process-wide, like a real kernel's.
class fake_iommufd {
 public:
  using ranges = std::vector<tether::extent<tether::io_address>>;

  /// A unit of pinning: memory at an address, or a piece of a file.
  struct pages {
    std::uint64_t host = 0;
    std::uint64_t length = 0;
    bool writable = false;
    bool of_file = false;
    pages() = default;
    pages(pages const&) = delete;
    pages& operator=(pages const&) = delete;
    ~pages() {
      if (of_file) ::munmap(reinterpret_cast<void*>(static_cast<std::uintptr_t>(host)), length);
    }
  };
  struct area {
    std::uint64_t last = 0;
    std::shared_ptr<pages> what{};
    std::uint64_t offset = 0;
    std::uint32_t flags = 0;
  };
  struct ioas {
    std::map<std::uint64_t, area> areas{};
    bool huge_pages = true;
  };
  struct page_table {
    std::uint32_t ioas = 0;
    int iommu = 0;
    std::uint64_t alignment = 1;
    tether::extent<tether::io_address> aperture{};
    bool automatic = false;
  };
  struct device;
  struct context {
    std::map<std::uint32_t, ioas> spaces{};
    std::map<std::uint32_t, page_table> tables{};
    std::map<std::uint32_t, device*> devices{};
    std::uint32_t next = 1;
    bool by_process = false;
  };
  struct device {
    fake_cdev is{};
    unsigned users = 0;  // reference count: descriptors and mapped BARs
    std::shared_ptr<context> bound{};
    std::uint32_t id = 0;
    std::uint32_t attached = 0;  // id of a page table; for a mediated device, of an address space
  };
  struct file {
    std::shared_ptr<context> as_context{};
    device* as_device = nullptr;
  };

  std::map<std::string, device> devices;  // by path
  std::map<int, file> files;
  std::map<std::uint64_t, device*> bars;
  bool there = true;         // /dev/iommu
  bool knows_tokens = true;  // at a bind
  bool privileged = true;    // CAP_SYS_RESOURCE
  bool allocates_page_tables = true;
  bool maps_files = true;
  std::uint64_t lockable = ~std::uint64_t{0};
  std::uint64_t unmaps_too_little = 0;     // bytes by which an unmap under-reports
  std::optional<ranges> ranges_to_tell{};  // reported instead of the real ranges
  std::function<void()> before_copy{};     // hook: another thread acts here
  std::function<void()> before_open{};     // hook: another process acts here, and exchanges nodes
  std::vector<unsigned long> requests{};   // every ioctl
  std::recursive_mutex mutex{};

  /// Pinned now, each page once. Units: bytes.
  [[nodiscard]] std::uint64_t locked() const {
    std::set<pages const*> pinned;
    for (auto const* one : contexts()) {
      for (auto const& [id, space] : one->spaces) {
        if (!has_page_table(*one, id)) continue;
        for (auto const& [first, what] : space.areas) pinned.insert(what.what.get());
      }
    }
    std::uint64_t bytes = 0;
    for (auto const* one : pinned) bytes += one->length;
    return bytes;
  }
  /// Everything that a failure must leave unchanged, as text. With `same_tables` the ids of page
  /// tables are left out: a table that is made again has a new id, and is the same to us.
  [[nodiscard]] std::string seen(bool same_tables = false) const {
    std::string all;
    const auto say = [&](const char* word, auto... numbers) {
      ((all += word), ..., (all += " " + std::to_string(numbers))), all += "; ";
    };
    for (auto const* one : contexts()) {
      for (auto const& [id, space] : one->spaces) {
        say("space", id);
        for (auto const& [first, what] : space.areas)
          say("area", first, what.last, what.what->host + what.offset, what.flags);
      }
      for (auto const& [id, table] : one->tables) say("table", same_tables ? 0 : id, table.ioas);
    }
    for (auto const& [path, one] : devices)
      say(one.is.name.c_str(), one.users, one.bound != nullptr,
          same_tables && one.attached != 0 ? 1 : one.attached);
    say("locked", locked());
    return all;
  }
  [[nodiscard]] std::size_t areas() const {
    std::size_t found = 0;
    for (auto const* one : contexts()) {
      for (auto const& [id, space] : one->spaces) found += space.areas.size();
    }
    return found;
  }
  [[nodiscard]] std::size_t count(unsigned long request) const {
    return static_cast<std::size_t>(std::ranges::count(requests, request));
  }

  std::int64_t open(std::string const& path) {
    if (path == "/dev/iommu") return there ? give({std::make_shared<context>(), nullptr}) : -ENOENT;
    if (const auto now = std::exchange(before_open, nullptr)) now();
    const auto at = devices.find(path);
    if (at == devices.end()) return -ENOENT;
    const auto descriptor = give({nullptr, &at->second});
    if (descriptor < 0) return descriptor;
    ++at->second.users;
    static_cast<void>(
        tether::linux_kernel::ftruncate(static_cast<int>(descriptor), fake_device_size));
    return descriptor;
  }
  void duplicated(int from, int to) {
    const auto at = files.find(from);
    if (at == files.end()) return;
    files[to] = at->second;
    if (at->second.as_device != nullptr) ++at->second.as_device->users;
  }
  void closed(int descriptor) {
    const auto at = files.find(descriptor);
    if (at == files.end()) return;
    const file gone = at->second;
    files.erase(at);
    if (gone.as_device != nullptr) release(*gone.as_device);
  }
  void mapped_bar(int descriptor, std::int64_t at) {
    const auto found = files.find(descriptor);
    if (at < 0 || found == files.end() || found->second.as_device == nullptr) return;
    ++found->second.as_device->users;
    bars[static_cast<std::uint64_t>(at)] = found->second.as_device;
  }
  void unmapped(std::uint64_t at) {
    const auto found = bars.find(at);
    if (found == bars.end()) return;
    device& of = *found->second;
    bars.erase(found);
    release(of);
  }
  bool status(int descriptor, struct stat& into) const {
    const auto at = files.find(descriptor);
    if (at == files.end() || at->second.as_device == nullptr) return false;
    into = of_node(*at->second.as_device);
    return true;
  }
  std::int64_t status(std::string const& path, struct stat& into) const {
    const auto at = devices.find(path);
    if (at == devices.end()) return -ENOENT;
    into = of_node(at->second);
    return 0;
  }

  std::int64_t control(int descriptor, unsigned long request, void* argument) {
    requests.push_back(request);
    const auto at = files.find(descriptor);
    if (at == files.end()) return -EBADF;
    if (at->second.as_device != nullptr)
      return control_device(*at->second.as_device, request, argument);
    return control_context(*at->second.as_context, request, argument);
  }

  /// DMA by a device, as far as its address space allows. Answers 0, or the errno that stands for
  /// an IOMMU fault.
  int dma(device const& of, std::uint64_t at, std::byte* bytes, std::uint64_t size,
          bool device_writes) const {
    if (size == 0) return 0;
    const std::uint64_t last = at + (size - 1);
    if (last < at) return EOVERFLOW;
    if (!of.bound || of.attached == 0) return EBADF;
    auto const& areas = of.bound->spaces.at(space_of(of)).areas;
    for (const bool move : {false, true}) {
      for (std::uint64_t done = 0; done < size;) {
        auto one = areas.upper_bound(at + done);
        if (one == areas.begin() || (--one)->second.last < at + done) return ENXIO;
        if ((one->second.flags & (device_writes ? abi::device_may_write : abi::device_may_read)) ==
            0)
          return EACCES;
        const std::uint64_t now = std::min(size - done, one->second.last - (at + done) + 1);
        const auto where = one->second.what->host + one->second.offset + (at + done - one->first);
        void* const host = reinterpret_cast<void*>(static_cast<std::uintptr_t>(where));
        if (move && device_writes) std::memcpy(host, bytes + done, now);
        if (move && !device_writes) std::memcpy(bytes + done, host, now);
        done += now;
      }
    }
    return 0;
  }

 private:
  struct abi {
    static constexpr auto at_this_iova = tether::detail::iommufd_uapi::at_this_iova;
    static constexpr auto device_may_write = tether::detail::iommufd_uapi::device_may_write;
    static constexpr auto device_may_read = tether::detail::iommufd_uapi::device_may_read;
    static constexpr auto rights = device_may_write | device_may_read;
  };

  static struct stat of_node(device const& one) {
    struct stat of{};
    of.st_mode = S_IFCHR;
    of.st_rdev = makedev(510, one.is.number);
    return of;
  }
  std::set<context const*> contexts() const {
    std::set<context const*> all;
    for (auto const& [number, one] : files) {
      if (one.as_context) all.insert(one.as_context.get());
    }
    for (auto const& [path, one] : devices) {
      if (one.bound) all.insert(one.bound.get());
    }
    return all;
  }
  std::int64_t give(file one) {
    const auto descriptor = tether::linux_kernel::memfd_create("iommufd", MFD_CLOEXEC);
    if (descriptor >= 0) files[static_cast<int>(descriptor)] = std::move(one);
    return descriptor;
  }
  void release(device& of) {
    if (--of.users != 0 || !of.bound) return;
    detach(of);
    of.bound->devices.erase(of.id);
    of.bound.reset();
    of.id = 0;
  }
  void detach(device& of) {
    of.attached = 0;
    std::erase_if(of.bound->tables, [&](auto const& one) {
      return one.second.automatic && !is_attached(*of.bound, one.first);
    });
  }
  static bool is_attached(context const& in, std::uint32_t id) {
    return std::ranges::any_of(in.devices,
                               [&](auto const& one) { return one.second->attached == id; });
  }
  static bool has_page_table(context const& in, std::uint32_t space) {
    return std::ranges::any_of(in.tables,
                               [&](auto const& one) { return one.second.ioas == space; });
  }
  static std::uint32_t space_of(device const& of) {
    return of.is.mediated ? of.attached : of.bound->tables.at(of.attached).ioas;
  }

  ranges usable(context const& in, std::uint32_t space) const {
    ranges all{tether::extent<tether::io_address>::everything()};
    for (auto const& [id, table] : in.tables) {
      if (table.ioas != space) continue;
      ranges narrower;
      for (auto const& one : all) {
        if (const auto both = one.intersection(table.aperture)) narrower.push_back(*both);
      }
      all = narrower;
    }
    for (auto const& [id, one] : in.devices) {
      if (one->attached == 0 || one->is.mediated || space_of(*one) != space) continue;
      for (auto const& hole : one->is.reserved) all = without(all, hole);
    }
    return all;
  }
  static ranges without(ranges const& all, tether::extent<tether::io_address> hole) {
    ranges left;
    for (auto const& one : all) {
      if (!one.overlaps(hole)) {
        left.push_back(one);
        continue;
      }
      if (one.first < hole.first) left.push_back({one.first, hole.first - 1});
      if (hole.last < one.last) left.push_back({hole.last + 1, one.last});
    }
    return left;
  }
  static std::uint64_t alignment(context const& in, std::uint32_t space) {
    std::uint64_t all = 1;
    for (auto const& [id, table] : in.tables)
      all = table.ioas == space ? std::max(all, table.alignment) : all;
    return all;
  }
  bool all_usable(context const& in, std::uint32_t space) const {
    const auto may = usable(in, space);
    return std::ranges::all_of(in.spaces.at(space).areas, [&](auto const& one) {
      return within_one(may, one.first, one.second.last);
    });
  }
  static bool within_one(ranges const& may, std::uint64_t first, std::uint64_t last) {
    const tether::extent<tether::io_address> where{tether::io_address{first},
                                                   tether::io_address{last}};
    return std::ranges::any_of(may, [&](auto const& one) { return one.contains(where); });
  }
  /// 0, or the errno that says why what is mapped here cannot be pinned.
  int pin_all(context const& in, std::uint32_t space, std::uint64_t locked_before) const {
    for (auto const& [first, one] : in.spaces.at(space).areas) {
      for (std::uint64_t at = 0; at < one.what->length; at += tether::linux_kernel::page_size()) {
        if (!is_mapped(one.what->host + at) || bars.contains(one.what->host)) return EFAULT;
      }
    }
    return locked() > lockable && locked() != locked_before ? ENOMEM : 0;
  }

  template <class Arguments>
  static bool read(void const* argument, Arguments& into) {
    std::memcpy(&into, argument, sizeof into);
    return into.size >= sizeof into;
  }
  template <class Arguments>
  static std::int64_t answer(void* argument, Arguments const& with) {
    std::memcpy(argument, &with, sizeof with);
    return 0;
  }

  std::int64_t control_context(context& in, unsigned long request, void* argument) {
    namespace of = tether::detail::iommufd_uapi;
    if (request == of::allocate_ioas.number) {
      of::new_ioas made{};
      if (!read(argument, made)) return -EINVAL;
      if (made.flags != 0) return -EOPNOTSUPP;
      made.ioas = in.next++;
      in.spaces[made.ioas];
      return answer(argument, made);
    }
    if (request == of::destroy.number) return destroy(in, argument);
    if (request == of::read_limits.number) return tell_limits(in, argument);
    if (request == of::map.number) return map(in, argument);
    if (request == of::map_file.number) return maps_files ? map_file(in, argument) : -ENOTTY;
    if (request == of::copy.number) return copy(in, argument);
    if (request == of::unmap.number) return unmap(in, argument);
    if (request == of::set_option.number) return set_option(in, argument);
    if (request == of::allocate_page_table.number)
      return allocates_page_tables ? allocate_page_table(in, argument) : -ENOTTY;
    return -ENOTTY;
  }
  std::int64_t destroy(context& in, void* argument) {
    tether::detail::iommufd_uapi::object gone{};
    if (!read(argument, gone)) return -EINVAL;
    if (in.devices.contains(gone.id) || is_attached(in, gone.id)) return -EBUSY;
    if (in.tables.erase(gone.id) != 0) return 0;
    if (!in.spaces.contains(gone.id)) return -ENOENT;
    if (has_page_table(in, gone.id)) return -EBUSY;
    in.spaces.erase(gone.id);
    return 0;
  }
  std::int64_t tell_limits(context const& in, void* argument) {
    tether::detail::iommufd_uapi::iova_limits limits{};
    if (!read(argument, limits) || limits.reserved != 0) return -EINVAL;
    if (!in.spaces.contains(limits.ioas)) return -ENOENT;
    const auto may = ranges_to_tell ? *ranges_to_tell : usable(in, limits.ioas);
    const auto room = limits.count;
    auto* const into = reinterpret_cast<tether::detail::iommufd_uapi::iova_range*>(
        static_cast<std::uintptr_t>(limits.ranges));
    for (std::size_t i = 0; i < std::min<std::size_t>(room, may.size()); ++i)
      into[i] = {may[i].first.value, may[i].last.value};
    limits.count = static_cast<std::uint32_t>(may.size());
    limits.alignment = alignment(in, limits.ioas);
    static_cast<void>(answer(argument, limits));
    return may.size() > room ? -EMSGSIZE : 0;
  }

  /// The order of checks is the kernel's.
  std::int64_t insert(context& in, std::uint32_t space, std::uint64_t iova, std::uint64_t length,
                      area what) {
    if (length == 0) return -EINVAL;
    const std::uint64_t last = iova + (length - 1);
    if (last < iova) return -EOVERFLOW;
    const auto page = std::max(alignment(in, space), std::uint64_t{1});
    if (((iova | length | (what.what->host + what.offset)) & (page - 1)) != 0) return -EINVAL;
    if (!within_one(usable(in, space), iova, last)) return -EINVAL;
    auto& areas = in.spaces.at(space).areas;
    const auto behind = areas.upper_bound(last);
    if (behind != areas.begin() && std::prev(behind)->second.last >= iova) return -EEXIST;
    const auto before = locked();
    what.last = last;
    areas[iova] = std::move(what);
    const int why = has_page_table(in, space) ? pin_all(in, space, before) : 0;
    if (why != 0) areas.erase(iova);
    return -why;
  }
  static int wrong_flags(std::uint32_t flags, std::uint64_t iova, std::uint64_t length) {
    constexpr auto none = ~std::uint64_t{0};
    if ((flags & ~(abi::rights | abi::at_this_iova)) != 0 || (flags & abi::at_this_iova) == 0)
      return EOPNOTSUPP;
    if (iova == none || length == none) return EOVERFLOW;
    return (flags & abi::rights) == 0 ? EINVAL : 0;
  }
  std::int64_t map(context& in, void* argument) {
    tether::detail::iommufd_uapi::memory_mapping request{};
    if (!read(argument, request) || request.reserved != 0) return -EINVAL;
    if (const int wrong = wrong_flags(request.flags, request.iova, request.length)) return -wrong;
    if (!in.spaces.contains(request.ioas)) return -ENOENT;
    if (request.length != 0 && request.host + (request.length - 1) < request.host)
      return -EOVERFLOW;
    auto made = std::make_shared<pages>();
    made->host = request.host;
    made->length = request.length;
    made->writable = (request.flags & abi::device_may_write) != 0;
    return insert(in, request.ioas, request.iova, request.length,
                  {0, std::move(made), 0, request.flags});
  }
  std::int64_t map_file(context& in, void* argument) {
    tether::detail::iommufd_uapi::file_mapping request{};
    if (!read(argument, request)) return -EINVAL;
    if (const int wrong = wrong_flags(request.flags, request.iova, request.length)) return -wrong;
    if (!in.spaces.contains(request.ioas)) return -ENOENT;
    if (::fcntl(request.file, F_GETFD) < 0) return -EBADF;
    if (::fcntl(request.file, F_GET_SEALS) < 0) return -EINVAL;  // neither shmem nor hugetlbfs
    void* const at = ::mmap(nullptr, request.length, PROT_READ | PROT_WRITE, MAP_SHARED,
                            request.file, static_cast<off_t>(request.offset));
    if (at == MAP_FAILED) return -EINVAL;
    auto made = std::make_shared<pages>();
    made->host = reinterpret_cast<std::uintptr_t>(at);
    made->length = request.length;
    made->writable = (request.flags & abi::device_may_write) != 0;
    made->of_file = true;
    return insert(in, request.ioas, request.iova, request.length,
                  {0, std::move(made), 0, request.flags});
  }
  std::int64_t copy(context& in, void* argument) {
    if (auto const now = std::exchange(before_copy, nullptr)) now();
    tether::detail::iommufd_uapi::shared_mapping request{};
    if (!read(argument, request)) return -EINVAL;
    if (const int wrong = wrong_flags(request.flags, request.to_iova, request.length))
      return -wrong;
    if (!in.spaces.contains(request.to_ioas) || !in.spaces.contains(request.from_ioas))
      return -ENOENT;
    auto const& from = in.spaces.at(request.from_ioas).areas;
    auto source = from.upper_bound(request.from_iova);
    if (source == from.begin() ||
        (--source)->second.last < request.from_iova + (request.length - 1))
      return -ENOENT;
    area what = source->second;
    if ((request.flags & abi::device_may_write) != 0 && !what.what->writable) return -EPERM;
    what.offset += request.from_iova - source->first;
    what.flags = request.flags;
    return insert(in, request.to_ioas, request.to_iova, request.length, std::move(what));
  }
  /// Not atomic, as in the kernel: areas before one that would be cut are unmapped already. A hole
  /// has the same errno as a cut.
  std::int64_t unmap(context& in, void* argument) {
    tether::detail::iommufd_uapi::unmapping request{};
    if (!read(argument, request)) return -EINVAL;
    if (!in.spaces.contains(request.ioas)) return -ENOENT;
    auto& areas = in.spaces.at(request.ioas).areas;
    const bool all = request.iova == 0 && request.length == ~std::uint64_t{0};
    if (!all && request.length == 0) return -EINVAL;
    const std::uint64_t last = all ? ~std::uint64_t{0} : request.iova + (request.length - 1);
    if (last < request.iova) return -EOVERFLOW;
    std::uint64_t removed = 0;
    auto at = areas.upper_bound(request.iova);
    if (at != areas.begin() && std::prev(at)->second.last >= request.iova) --at;
    while (at != areas.end() && at->first <= last) {
      if (at->first < request.iova || at->second.last > last) return -ENOENT;
      removed += at->second.last - at->first + 1;
      at = areas.erase(at);
    }
    if (removed == 0 && !all) return -ENOENT;
    request.length = removed - unmaps_too_little;
    return answer(argument, request);
  }
  std::int64_t set_option(context& in, void* argument) {
    tether::detail::iommufd_uapi::option request{};
    if (!read(argument, request) || request.reserved != 0 || request.value > 1) return -EINVAL;
    if (request.operation == tether::detail::iommufd_uapi::operation_get &&
        request.which == tether::detail::iommufd_uapi::locked_memory_by_process) {
      request.value = in.by_process ? 1 : 0;
      return answer(argument, request);
    }
    if (request.operation != tether::detail::iommufd_uapi::operation_set) return -EOPNOTSUPP;
    if (request.which == tether::detail::iommufd_uapi::locked_memory_by_process) {
      if (request.object != 0) return -EOPNOTSUPP;
      if (!privileged) return -EPERM;
      if (!in.spaces.empty() || !in.devices.empty()) return -EBUSY;
      in.by_process = request.value == 1;
      return 0;
    }
    if (request.which != tether::detail::iommufd_uapi::huge_pages) return -EOPNOTSUPP;
    if (!in.spaces.contains(request.object)) return -ENOENT;
    auto& space = in.spaces.at(request.object);
    if (request.value == 0 && !space.areas.empty()) return -EINVAL;
    space.huge_pages = request.value == 1;
    return 0;
  }
  /// The pin point: everything that is mapped must be usable, or no page table is made.
  std::int64_t add_table(context& in, std::uint32_t space, device const& made_for, bool automatic) {
    if (made_for.is.alignment > tether::linux_kernel::page_size()) return -EINVAL;
    const auto before = locked();
    const std::uint32_t id = in.next++;
    in.tables[id] = {space, made_for.is.iommu, made_for.is.alignment, made_for.is.aperture,
                     automatic};
    const int why = all_usable(in, space) ? pin_all(in, space, before) : EADDRINUSE;
    if (why == 0) return id;
    in.tables.erase(id);
    return -why;
  }
  std::int64_t allocate_page_table(context& in, void* argument) {
    tether::detail::iommufd_uapi::new_page_table request{};
    if (!read(argument, request) || request.reserved != 0) return -EINVAL;
    if (request.flags != 0 || request.data_type != 0) return -EOPNOTSUPP;
    const auto who = in.devices.find(request.device);
    if (who == in.devices.end() || who->second->is.mediated || !in.spaces.contains(request.ioas))
      return -ENOENT;
    const auto id = add_table(in, request.ioas, *who->second, false);
    if (id < 0) return id;
    request.page_table = static_cast<std::uint32_t>(id);
    return answer(argument, request);
  }

  std::int64_t control_device(device& of, unsigned long request, void* argument) {
    namespace to = tether::detail::iommufd_uapi;
    if (request == to::bind_device.number) {
      to::device_binding binding{};
      if (!read(argument, binding)) return -EINVAL;
      std::vector<std::uint8_t> token;
      if (binding.flags == to::device_binding_with_token::has_token && knows_tokens) {
        to::device_binding_with_token longer{};
        if (!read(argument, longer.plain) || binding.size < sizeof longer) return -EINVAL;
        std::memcpy(&longer, argument, sizeof longer);
        auto const* const bytes =
            reinterpret_cast<std::uint8_t const*>(static_cast<std::uintptr_t>(longer.token));
        token.assign(bytes, bytes + 16);
        if (of.is.token.empty()) return -EINVAL;
      } else if (binding.flags != 0) {
        return -EINVAL;
      }
      if (of.bound) return -EINVAL;
      if (token != of.is.token) return -EACCES;
      const auto at = files.find(binding.iommufd);
      if (at == files.end() || !at->second.as_context) return -EBADF;
      if (of.is.busy) return -EBUSY;
      of.bound = at->second.as_context;
      of.id = binding.device = of.bound->next++;
      of.bound->devices[of.id] = &of;
      return answer(argument, binding);
    }
    if (!of.bound) return -EINVAL;
    if (request == to::attach_device.number) {
      to::device_attachment attachment{};
      if (!read(argument, attachment) || attachment.flags != 0) return -EINVAL;
      const auto why = attach(of, attachment.page_table);
      if (why != 0) return why;
      attachment.page_table = of.attached;
      return answer(argument, attachment);
    }
    if (request == to::detach_device.number) {
      detach(of);
      return 0;
    }
    return control_fake_device(request, argument);
  }
  std::int64_t attach(device& of, std::uint32_t id) {
    context& in = *of.bound;
    if (of.is.mediated) {
      if (!in.spaces.contains(id)) return -ENOENT;
      of.attached = id;
      return 0;
    }
    std::uint32_t chosen = id;
    if (in.spaces.contains(id)) {
      const auto suits = std::ranges::find_if(in.tables, [&](auto const& one) {
        return one.second.automatic && one.second.ioas == id && one.second.iommu == of.is.iommu;
      });
      if (suits != in.tables.end()) {
        chosen = suits->first;
      } else {
        const auto made = add_table(in, id, of, true);
        if (made < 0) return made;
        chosen = static_cast<std::uint32_t>(made);
      }
    } else if (!in.tables.contains(id)) {
      return -ENOENT;
    }
    const std::uint32_t before = of.attached;
    int why = in.tables.at(chosen).iommu == of.is.iommu ? 0 : EINVAL;
    for (auto const& [number, other] : in.devices) {
      if (other == &of || other->is.mediated || other->is.group != of.is.group ||
          other->attached == 0)
        continue;
      if (other->attached != chosen) why = EINVAL;
    }
    if (why == 0) {
      of.attached = chosen;
      if (!all_usable(in, in.tables.at(chosen).ioas)) why = EADDRINUSE;
    }
    if (why != 0) of.attached = before;
    std::erase_if(in.tables, [&](auto const& one) {
      return one.second.automatic && !is_attached(in, one.first);
    });
    return -why;
  }
};

/// The seam: calls on iommufd and its devices go to the fake, all others to Linux. Thread-safe.
struct fake_iommufd_kernel : tether::faulty_kernel {
  using faulty_kernel::answer;

  /// The machine. Ensures after `start_anew`: no device, nothing open; no fault is armed.
  [[nodiscard]] static fake_iommufd& machine() { return *the_machine(); }
  static fake_iommufd& start_anew() {
    faulty_kernel::reset();
    the_machine() = std::make_unique<fake_iommufd>();
    return machine();
  }

  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    const std::lock_guard lock{machine().mutex};
    const answer at = faulty_kernel::mmap(size, protection, flags, descriptor, offset);
    machine().mapped_bar(descriptor, at);
    return at;
  }
  [[nodiscard]] static answer munmap(std::uint64_t host, std::uint64_t size) noexcept {
    const std::lock_guard lock{machine().mutex};
    const answer done = faulty_kernel::munmap(host, size);
    if (done >= 0) machine().unmapped(host);
    return done;
  }
  [[nodiscard]] static answer duplicate(int descriptor) noexcept {
    const std::lock_guard lock{machine().mutex};
    const answer copy = faulty_kernel::duplicate(descriptor);
    if (copy >= 0) machine().duplicated(descriptor, static_cast<int>(copy));
    return copy;
  }
  [[nodiscard]] static answer close(int descriptor) noexcept {
    const std::lock_guard lock{machine().mutex};
    machine().closed(descriptor);
    return faulty_kernel::close(descriptor);
  }
  [[nodiscard]] static answer fstat(int descriptor, struct stat& status) noexcept {
    const std::lock_guard lock{machine().mutex};
    const answer asked = faulty_kernel::fstat(descriptor, status);
    if (asked >= 0) static_cast<void>(machine().status(descriptor, status));
    return asked;
  }
  [[nodiscard]] static answer stat(const char* path, struct stat& status) noexcept {
    if (const int fault = next(tether::kernel_call::stat)) return -fault;
    const std::lock_guard lock{machine().mutex};
    return machine().status(path, status);
  }
  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    if (number == SYS_prlimit64 || number == SYS_openat) {
      const auto asked = in_words(arguments...);
      if (asks_lock_limit(number, asked)) {
        if (const int fault = next(tether::kernel_call::numbered)) return -fault;
        const std::lock_guard lock{machine().mutex};
        return tell_lock_limit(number, asked, machine().lockable, machine().locked());
      }
    }
    if (number != SYS_ioctl && number != SYS_openat)
      return faulty_kernel::call(number, arguments...);
    if (const int fault = next(tether::kernel_call::numbered)) return -fault;
    const std::lock_guard lock{machine().mutex};
    const auto words = in_words(arguments...);
    if (number == SYS_openat) return machine().open(reinterpret_cast<const char*>(words[1]));
    return machine().control(static_cast<int>(words[0]), words[1],
                             reinterpret_cast<void*>(words[2]));
  }

 private:
  static std::unique_ptr<fake_iommufd>& the_machine() {
    static std::unique_ptr<fake_iommufd> one = std::make_unique<fake_iommufd>();
    return one;
  }
};

}  // namespace tether_test
