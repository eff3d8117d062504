// SPDX-License-Identifier: BSL-1.0
// What every case needs inside the machine: frames of pages, locked memory, the kernel's log,
// mediated devices, and a small guest with a real device.
//
//     guest physical    0 [ ram: 2 MiB, private ]   ...   128 MiB [ mailbox: 4 KiB, shared: never discarded ]
#pragma once

#include <edu.hpp>
#include <support/must.hpp>

#include <tether/tether.hpp>
#include <tether/testing.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <linux/capability.h>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace in_machine {

using namespace tether;
using tether_test::must;

inline constexpr std::uint64_t page = 4 * KiB;
inline constexpr std::uint64_t mailbox_at = 128 * MiB;

/// The frame behind each page of [at, at + bytes): 0 where there is none.
inline std::vector<std::uint64_t> frames_behind(std::byte const* at, std::uint64_t bytes) {
  std::vector<std::uint64_t> entries(bytes / page);
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  REQUIRE(pagemap >= 0);
  const auto offset =
      static_cast<off_t>(reinterpret_cast<std::uintptr_t>(at) / page * sizeof(std::uint64_t));
  const auto size = entries.size() * sizeof(std::uint64_t);
  REQUIRE(::pread(pagemap, entries.data(), size, offset) == static_cast<ssize_t>(size));
  ::close(pagemap);
  constexpr std::uint64_t present = std::uint64_t{1} << 63;
  constexpr std::uint64_t number = (std::uint64_t{1} << 55) - 1;
  for (auto& entry : entries) entry = (entry & present) != 0 ? entry & number : 0;
  return entries;
}
inline std::vector<std::uint64_t> frames_behind(ram_block const& block) {
  return frames_behind(block.data(), block.size());
}

/// VmLck: what type1 has charged to this process's memlock limit, which is what it has pinned.
/// Units: bytes.
inline std::uint64_t locked_by_the_kernel() {
  std::ifstream status{"/proc/self/status"};
  for (std::string word; status >> word;) {
    if (word != "VmLck:") continue;
    std::uint64_t kib = 0;
    status >> kib;
    return kib * KiB;
  }
  return 0;
}

/// What the kernel has pinned in the whole machine, for any process; iommufd counts a privileged
/// user's pages nowhere else.
/// Units: bytes.
inline std::uint64_t pinned_now() {
  std::ofstream{"/proc/sys/vm/stat_refresh"} << '1';  // folds in the counters of each processor
  std::ifstream file{"/proc/vmstat"};
  std::uint64_t pages = 0;
  std::uint64_t count = 0;
  for (std::string word; file >> word >> count;) {
    if (word == "nr_foll_pin_acquired") pages += count;
    if (word == "nr_foll_pin_released") pages -= count;
  }
  return pages * page;
}

/// Whether this is the kernel `version`: "6.1".
inline bool kernel_is(std::string_view version) {
  utsname names{};
  REQUIRE(::uname(&names) == 0);
  return std::string_view{names.release}.starts_with(std::string{version} + ".");
}

/// Writes into a file of sysfs, procfs or debugfs.
inline void write_file(std::filesystem::path const& path, std::string_view text) {
  std::ofstream file{path};
  file << text << std::flush;
  if (!file) FAIL("cannot write '" << text << "' into " << path.string());
}

/// All that the kernel has logged.
inline std::string kernel_log() {
  std::string text(1U << 20, '\0');
  const int got = ::klogctl(3, text.data(), static_cast<int>(text.size()));
  text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return text;
}

/// A pattern that says where it belongs and when it was written; no byte is zero.
inline std::vector<std::byte> pattern(std::uint64_t place, unsigned turn, std::uint64_t bytes) {
  std::vector<std::byte> all(bytes);
  for (std::uint64_t i = 0; i < bytes; ++i)
    all[i] = static_cast<std::byte>(1 + (place * 31 + turn * 17 + i * 7 + i / 251) % 255);
  return all;
}

inline std::vector<std::uint32_t> frame_numbers(std::uint32_t first, std::uint32_t count) {
  std::vector<std::uint32_t> all(count);
  for (std::uint32_t i = 0; i < count; ++i) all[i] = first + i;
  return all;
}

/// The machine's n-th edu device.
inline std::string edu_address(std::size_t n = 0) {
  const auto all = edu::devices();
  REQUIRE(all.size() > n);
  return all[n];
}
inline vfio_group group_of(std::string const& address) { return must(vfio_group::of(address)); }

using engine = edu::engine<vfio_device>;

/// A mediated device that exists as long as this object: a serial port that pins nothing, in a
/// group of its own. Tier 1 has them where the case says `modules: mdev`.
/// Requires: declared before the container that uses it, because its removal waits until it is
/// closed.
class mediated_device {
 public:
  explicit mediated_device(unsigned n = 0)
      : name_{"6d747479-0000-4000-8000-00000000000" + std::to_string(n % 10)} {
    write_file("/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create", name_);
    if (!vfio_sysfs{}.group_of(name_)) FAIL("the mediated device has no group");
  }
  mediated_device(mediated_device const&) = delete;
  mediated_device& operator=(mediated_device const&) = delete;
  ~mediated_device() { std::ofstream{"/sys/bus/mdev/devices/" + name_ + "/remove"} << '1'; }

  [[nodiscard]] std::string const& name() const noexcept { return name_; }
  [[nodiscard]] vfio_group group() const { return group_of(name_); }

 private:
  std::string name_;
};

/// Swaps the names of two nodes of /dev for a scope: as in an OS container whose /dev was made for
/// other devices.
class exchanged_nodes {
 public:
  exchanged_nodes(std::string first, std::string second)
      : first_{std::move(first)}, second_{std::move(second)} {
    exchange();
  }
  exchanged_nodes(exchanged_nodes const&) = delete;
  exchanged_nodes& operator=(exchanged_nodes const&) = delete;
  ~exchanged_nodes() { exchange(); }

 private:
  void exchange() const {
    const std::string aside = first_ + "-aside";
    std::filesystem::rename(first_, aside);
    std::filesystem::rename(second_, first_);
    std::filesystem::rename(aside, second_);
  }
  std::string first_;
  std::string second_;
};

/// Makes the kernel fail the `n`-th allocation on behalf of this thread, for a scope. Only tier 2
/// can.
class failing_allocation {
 public:
  explicit failing_allocation(unsigned n) {
    for (const std::filesystem::path kind :
         {"/sys/kernel/debug/failslab", "/sys/kernel/debug/fail_page_alloc"}) {
      // else only allocations that may not wait can fail
      write_file(kind / "ignore-gfp-wait", "N");
      write_file(kind / "verbose", "0");
      if (kind.filename() == "fail_page_alloc") write_file(kind / "min-order", "0");
    }
    file_ = ::open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
    REQUIRE(file_ >= 0);
    const auto text = std::to_string(n);
    REQUIRE(::pwrite(file_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  }
  failing_allocation(failing_allocation const&) = delete;
  failing_allocation& operator=(failing_allocation const&) = delete;
  ~failing_allocation() { static_cast<void>(struck()); }

  /// Disarms it. Answers whether an allocation has failed.
  bool struck() noexcept {
    if (file_ < 0) return struck_;
    std::array<char, 16> left{};
    const auto got = ::pread(file_, left.data(), left.size() - 1, 0);
    struck_ = got > 0 && left[0] == '0';
    static_cast<void>(::pwrite(file_, "0", 1, 0) == 1);
    ::close(file_);
    file_ = -1;
    return struck_;
  }

 private:
  int file_ = -1;
  bool struck_ = false;
};

/// For a scope: without CAP_IPC_LOCK, and with a small memlock limit.
class as_an_ordinary_user {
 public:
  explicit as_an_ordinary_user(std::uint64_t lockable) {
    REQUIRE(::getrlimit(RLIMIT_MEMLOCK, &limit_) == 0);
    const rlimit small{lockable, std::max<rlim_t>(lockable, limit_.rlim_max)};
    REQUIRE(::setrlimit(RLIMIT_MEMLOCK, &small) == 0);
    set_lock_right(false);
  }
  as_an_ordinary_user(as_an_ordinary_user const&) = delete;
  as_an_ordinary_user& operator=(as_an_ordinary_user const&) = delete;
  ~as_an_ordinary_user() {
    set_lock_right(true);
    ::setrlimit(RLIMIT_MEMLOCK, &limit_);
  }

 private:
  static void set_lock_right(bool on) {
    __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    REQUIRE(::syscall(SYS_capget, &head, data.data()) == 0);
    const unsigned bit = 1U << CAP_IPC_LOCK;
    data[0].effective = on ? data[0].effective | bit : data[0].effective & ~bit;
    REQUIRE(::syscall(SYS_capset, &head, data.data()) == 0);
  }
  rlimit limit_{};
};

/// A guest and one container.
template <class Backend, class... Policies>
struct vm_on {
  using container_type = container<Backend, Policies...>;

  explicit vm_on(std::uint64_t size = 2 * MiB) : vm_on{Backend{}, size} {}
  explicit vm_on(Backend backend, std::uint64_t size = 2 * MiB)
      : ram{must(ram_block::allocate("ram", size))}, dma{guest, gate, std::move(backend)} {
    ram_region = must(guest.place(region::ram(ram), guest_address{0}));
    static_cast<void>(must(guest.place(region::ram(mailbox), guest_address{mailbox_at})));
  }
  template <class Device>
  [[nodiscard]] edu::engine<Device> drive(Device& device) {
    return must(edu::engine<Device>::start(device, mailbox.data(), io_address{mailbox_at}));
  }
  [[nodiscard]] std::span<std::byte> at(std::uint64_t offset, std::uint64_t bytes) const {
    return {ram.data() + offset, bytes};
  }

  ram_block ram;
  ram_block mailbox = must(ram_block::allocate("mailbox", page, memory_kind::shared));
  address_space guest;
  discard_gate<> gate;
  tether::balloon<> balloon{guest, gate};
  container_type dma;
  region_id ram_region{};
};

/// Over VFIO's type1.
template <class... Policies>
using vm = vm_on<vfio_type1, Policies...>;

}  // namespace in_machine
