// SPDX-License-Identifier: BSL-1.0
// The first and only program of the guest in a virtual machine of examples/vmm: it loads the stock
// kernel's own drivers, and then does what it is told on the serial port, a command a line. It
// drives QEMU's edu device, whose registers it is shown, as any driver would.
//
//     guest: ready                          after the modules have been loaded
//     guest: NAME ...                       the answer to each command, one line
#include <algorithm>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <initializer_list>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <string>
#include <string_view>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr std::uint64_t page = 4096;
constexpr std::uint16_t serial = 0x3f8;

[[gnu::format(printf, 1, 2)]] void say(char const* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  for (char const* one = "\nguest: "; *one != '\0'; ++one)
    outb(static_cast<unsigned char>(*one), serial);
  for (int i = 0; i < length; ++i) outb(static_cast<unsigned char>(text[i]), serial);
  outb('\n', serial);
}

std::string line() {
  std::string text;
  for (;;) {
    if ((inb(serial + 5) & 1) == 0) {
      ::usleep(10000);
      continue;
    }
    const char next = static_cast<char>(inb(serial));
    if (next == '\n') return text;
    text += next;
  }
}

/// A line of /proc/meminfo or /proc/vmstat, in its own unit.
std::uint64_t counted(char const* file, std::string_view name) {
  std::ifstream from{file};
  std::string word;
  std::uint64_t value = 0;
  for (std::string all; std::getline(from, all);) {
    char key[64];
    unsigned long long number = 0;
    if (std::sscanf(all.c_str(), "%63[^: ]%*[: ]%llu", key, &number) == 2 && name == key)
      value = number;
  }
  return value;
}

/// Memory that this program has. The kernel may still move it to other addresses.
std::byte* locked(std::uint64_t bytes) {
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED || ::mlock(at, bytes) != 0) return nullptr;
  return static_cast<std::byte*>(at);
}
std::uint64_t address_of(void const* at) {
  static const int pagemap = ::open("/proc/self/pagemap", O_RDONLY);
  std::uint64_t entry = 0;
  const auto where = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(at) / page * sizeof entry);
  if (::pread(pagemap, &entry, sizeof entry, where) != sizeof entry) return 0;
  return (entry & ((std::uint64_t{1} << 55) - 1)) * page;
}

/// Memory that keeps its physical addresses, which a driver needs for DMA. Locked memory does not:
/// compaction and the unplugging of memory move it. The kernel pins this for io_uring.
class pinned {
 public:
  /// `kind`: MAP_HUGETLB for pages of 2 MiB.
  explicit pinned(std::uint64_t bytes, int kind = 0) : bytes_{bytes} {
    at_ =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | kind, -1, 0);
    io_uring_params parameters{};
    ring_ = static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters));
    const iovec all{at_, bytes_};
    is_pinned_ = ::syscall(SYS_io_uring_register, ring_, IORING_REGISTER_BUFFERS, &all, 1) == 0;
  }
  pinned(pinned const&) = delete;
  pinned& operator=(pinned const&) = delete;
  ~pinned() {
    if (is_pinned_) ::syscall(SYS_io_uring_register, ring_, IORING_UNREGISTER_BUFFERS, nullptr, 0);
    if (ring_ >= 0) ::close(ring_);
    if (at_ != MAP_FAILED) ::munmap(at_, bytes_);
  }
  /// Null if it cannot be had.
  [[nodiscard]] std::byte* data() const {
    return is_pinned_ ? static_cast<std::byte*>(at_) : nullptr;
  }

 private:
  std::uint64_t bytes_;
  void* at_;
  int ring_;
  bool is_pinned_;
};

/// The DMA engine of the device whose registers are at 0xd1000000.
class edu {
 public:
  static constexpr std::uint64_t most = 4095;  // bytes of one transfer
  edu() {
    const int memory = ::open("/dev/mem", O_RDWR | O_SYNC);
    void* const at =
        ::mmap(nullptr, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0xd1000000);
    ::close(memory);
    if (at != MAP_FAILED) registers_ = static_cast<volatile std::uint64_t*>(at);
  }
  edu(edu const&) = delete;
  edu& operator=(edu const&) = delete;
  ~edu() {
    if (registers_ != nullptr) ::munmap(const_cast<std::uint64_t*>(registers_), 0x1000);
  }
  [[nodiscard]] bool is_there() const {
    return registers_ != nullptr &&
           (*reinterpret_cast<volatile std::uint32_t*>(registers_) & 0xffff) == 0x00ed;
  }
  void load(std::uint64_t from, std::uint64_t bytes) { transfer(from, buffer, bytes, 1); }
  void store(std::uint64_t to, std::uint64_t bytes) { transfer(buffer, to, bytes, 3); }

 private:
  static constexpr std::uint64_t buffer = 0x40000;
  void transfer(std::uint64_t from, std::uint64_t to, std::uint64_t bytes, std::uint64_t command) {
    registers_[0x80 / 8] = from;
    registers_[0x88 / 8] = to;
    registers_[0x90 / 8] = bytes;
    registers_[0x98 / 8] = command;
    for (unsigned tries = 0; tries < 600 && (registers_[0x98 / 8] & 1) != 0; ++tries)
      ::usleep(5000);
  }
  volatile std::uint64_t* registers_ = nullptr;
};

/// Copies through the device from each of `count` pages to the next, and compares: the device's
/// memory is this program's, both ways.
void dma(char const* name, std::uint64_t count, std::uint64_t apart) {
  edu device;
  if (!device.is_there()) return say("%s no device", name);
  const pinned pages{2 * count * apart};
  std::byte* const memory = pages.data();
  if (memory == nullptr) return say("%s no memory", name);
  std::uint64_t right = 0;
  std::uint64_t out_of_reach = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::byte* const from = memory + 2 * i * apart;
    std::byte* const to = from + apart;
    for (std::uint64_t byte = 0; byte < edu::most; ++byte)
      from[byte] = static_cast<std::byte>(1 + (i * 37 + byte * 11 + byte / 251) % 255);
    std::memset(to, 0x77, page);
    if (std::max(address_of(from), address_of(to)) >= (std::uint64_t{1} << 28)) {
      ++out_of_reach;
      continue;
    }
    device.load(address_of(from), edu::most);
    device.store(address_of(to), edu::most);
    if (std::memcmp(from, to, edu::most) == 0) ++right;
  }
  say("%s %llu of %llu coherent, %llu out of reach", name, static_cast<unsigned long long>(right),
      static_cast<unsigned long long>(count), static_cast<unsigned long long>(out_of_reach));
}

/// Registers of a virtio-mmio device, and one queue of it, as a guest that means no good uses them.
class attacked {
 public:
  explicit attacked(std::uint64_t at) {
    const int memory = ::open("/dev/mem", O_RDWR | O_SYNC);
    registers_ = static_cast<volatile std::uint32_t*>(::mmap(
        nullptr, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, memory, static_cast<off_t>(at)));
    ::close(memory);
  }
  void set(std::uint32_t offset, std::uint32_t value) { registers_[offset / 4] = value; }
  [[nodiscard]] std::uint32_t get(std::uint32_t offset) const { return registers_[offset / 4]; }
  [[nodiscard]] bool needs_reset() const { return (get(0x70) & 64) != 0; }

  /// From a reset to DRIVER_OK, with one queue that lies where `rings` says.
  void begin(std::uint32_t queue, std::uint64_t rings, std::uint32_t size = 8) {
    set(0x70, 0);
    set(0x70, 3);
    set(0x14, 0);
    set(0x24, 0);
    set(0x20, get(0x10) & 3);  // the balloon's MUST_TELL_HOST, and statistics
    set(0x24, 1);
    set(0x20, 1);  // VERSION_1
    set(0x70, 11);
    set(0x30, queue);
    set(0x38, size);
    for (std::uint32_t part = 0; part < 3; ++part) {
      set(0x80 + 16 * part, static_cast<std::uint32_t>(rings + 1024 * part));
      set(0x84 + 16 * part, static_cast<std::uint32_t>(rings >> 32));
    }
    set(0x44, 1);
    set(0x70, 15);
  }

 private:
  volatile std::uint32_t* registers_;
};

struct descriptor {
  std::uint64_t address;
  std::uint32_t bytes;
  std::uint16_t flags;
  std::uint16_t next;
};

/// Drives the devices' rings by hand, against every rule. The stock drivers are of no use after it.
void attack() {
  const pinned pages{8 * page};
  std::byte* const memory = pages.data();
  if (memory == nullptr) return say("attack no memory");
  std::memset(memory, 0, 8 * page);
  const std::uint64_t rings = address_of(memory);
  const std::uint64_t data = address_of(memory + page);
  std::byte* const bytes = memory + page;
  unsigned wrong = 0;
  unsigned steps = 0;
  const auto expect = [&](char const* what, bool right) {
    ++steps;
    if (right) return;
    ++wrong;
    say("wrong: %s", what);
  };
  /// One request of these descriptors; the index jumps by `jump`.
  const auto send = [&](attacked& device, std::uint32_t queue,
                        std::initializer_list<descriptor> all, std::uint16_t jump = 1) {
    std::memset(memory, 0, page);
    device.begin(queue, rings);
    std::memcpy(memory, all.begin(), all.size() * sizeof(descriptor));
    std::memcpy(memory + 1024 + 2, &jump, sizeof jump);
    device.set(0x50, queue);
    std::uint16_t used = 0;
    std::memcpy(&used, memory + 2048 + 2, sizeof used);
    return used;
  };
  const auto broken = [&](attacked& device, char const* what) {
    expect(what, device.needs_reset());
    device.set(0x70, 0);
    expect("a reset mends it", !device.needs_reset());
  };

  attacked balloon{0xd0000000};
  // frames that are no memory, the monitor's registers, twice the same, its own that it still has
  const std::uint32_t own = static_cast<std::uint32_t>(address_of(memory + 4 * page) / page);
  const std::uint32_t frames[] = {0xffffffff, 0x80000000, 0xd0000, 0x7fffffff, own, own, 0xd1000};
  std::memcpy(bytes, frames, sizeof frames);
  expect("frames anywhere are taken", send(balloon, 0, {{data, sizeof frames, 0, 0}}) == 1);
  expect("and break nothing", !balloon.needs_reset());
  expect("deflated and never inflated", send(balloon, 1, {{data, sizeof frames, 0, 0}}) == 1);
  expect("breaks nothing either", !balloon.needs_reset());
  // a block of its own that goes away whole, and that its processor and device use none the less
  constexpr std::uint64_t block = 2ULL << 20;
  std::ofstream{"/proc/sys/vm/nr_hugepages"} << '1' << std::flush;
  const pinned given{block, MAP_HUGETLB};
  expect("a block of its own", given.data() != nullptr);
  edu device;
  expect("a device of its own", device.is_there());
  if (given.data() != nullptr) {
    const std::uint64_t there = address_of(given.data());
    for (std::uint64_t i = 0; i < block / page; ++i) {
      const auto frame = static_cast<std::uint32_t>(there / page + i);
      std::memcpy(bytes + i * sizeof frame, &frame, sizeof frame);
    }
    const auto size = static_cast<std::uint32_t>(block / page * sizeof(std::uint32_t));
    expect("a block is taken", send(balloon, 0, {{data, size, 0, 0}}) == 1);
    std::memset(given.data(), 0x55, block);
    device.store(there, edu::most);
    expect("its device cannot reach it", given.data()[0] == std::byte{0x55});
    balloon.set(0x70, 0);
    std::memset(given.data(), 0x66, edu::most);
    std::memset(given.data() + page, 0x77, edu::most);
    device.load(there, edu::most);
    device.store(there + page, edu::most);
    expect("after a reset it can, and they agree",
           std::memcmp(given.data(), given.data() + page, edu::most) == 0);
  }
  for (const std::uint32_t queue : {0U, 1U, 2U}) {
    send(balloon, queue, {{data, 8, 1, 1}, {data, 8, 1, 0}});
    broken(balloon, "a chain that loops");
    send(balloon, queue, {{data, 8, 1, 77}});
    broken(balloon, "a chain that leaves the table");
    send(balloon, queue, {{data, 8, 4, 0}});
    broken(balloon, "an indirect descriptor");
    send(balloon, queue, {{data, 8, 0, 0}}, 9);
    broken(balloon, "an index that jumps");
    send(balloon, queue, {{0xfffffffffffff000, 4096, 0, 0}});
    broken(balloon, "a buffer outside of memory");
    send(balloon, queue, {{0xd0000000, 64, 0, 0}});
    broken(balloon, "a buffer in a device");
    send(balloon, queue, {{data, 0xffffffff, 0, 0}});
    broken(balloon, "a buffer without an end");
    send(balloon, queue, {{data, 8, 3, 1}, {data, 8, 0, 0}});
    broken(balloon, "what is read behind what is written");
  }
  for (const std::uint32_t size : {0U, 3U, 512U, 0x80000000U}) {
    balloon.begin(0, rings, size);
    broken(balloon, "a queue of a wrong size");
  }
  for (const std::uint64_t where :
       {std::uint64_t{0xd0000000}, ~std::uint64_t{0}, rings + 1, std::uint64_t{1} << 40}) {
    balloon.begin(0, where);
    broken(balloon, "rings that are nowhere");
  }
  balloon.set(0x70, 0);
  balloon.set(0x70, 15);
  broken(balloon, "DRIVER_OK without features");
  // any register, any value
  std::uint32_t random = 1;
  for (unsigned i = 0; i < 3000; ++i) {
    random = random * 1664525 + 1013904223;
    balloon.set((random >> 8) % 0x120 & ~3U, random);
  }
  balloon.set(0x70, 0);

  attacked hotplug{0xd0001000};
  if (hotplug.get(0x08) == 24) {
    // type, address, blocks, answer
    const std::uint64_t first = 128ULL << 20;
    constexpr std::uint16_t plug = 0, unplug = 1, unplug_all = 2, state = 3;
    constexpr std::uint16_t ack = 0, nack = 1, error = 3;
    struct {
      std::uint16_t type;
      std::uint64_t address;
      std::uint16_t blocks;
      std::uint16_t answer;
    } const all[] = {
        {plug, first, 0, error},      {plug, first + 4096, 1, error},
        {plug, 0, 1, error},          {plug, ~0ULL - block + 1, 2, error},
        {plug, first, 0xffff, error}, {plug, first - block, 2, error},
        {unplug, first, 0, error},    {unplug, 0, 1, error},
        {state, first + 1, 1, error}, {state, first, 0xffff, error},
        {plug, first, 64, nack},      {unplug, first, 1, error},
        {unplug, first, 64, error},   {unplug_all, ~0ULL, 0xffff, ack},
        {state, ~0ULL, 1, error},     {state, first, 64, ack},
    };
    for (auto const& one : all) {
      std::memset(bytes, 0, 64);
      std::memcpy(bytes, &one.type, 2);
      std::memcpy(bytes + 8, &one.address, 8);
      std::memcpy(bytes + 16, &one.blocks, 2);
      send(hotplug, 0, {{data, 24, 1, 1}, {data + 32, 10, 2, 0}});
      std::uint16_t answer = 0xffff;
      std::memcpy(&answer, bytes + 32, 2);
      expect("a wrong request's answer", answer == one.answer && !hotplug.needs_reset());
    }
    bytes[0] = std::byte{9};
    send(hotplug, 0, {{data, 24, 1, 1}, {data + 32, 10, 2, 0}});
    broken(hotplug, "a request of no known type");
    send(hotplug, 0, {{data, 23, 1, 1}, {data + 32, 10, 2, 0}});
    broken(hotplug, "a request that is too short");
    send(hotplug, 0, {{data, 24, 1, 1}, {data + 32, 9, 2, 0}});
    broken(hotplug, "no room for the answer");
    bytes[0] = std::byte{3};
    send(hotplug, 0, {{data, 24, 1, 1}, {0xd0000000, 10, 2, 0}});
    broken(hotplug, "an answer into a device");
  }
  send(balloon, 0, {{data, 8, 1, 1}, {data, 8, 1, 0}});  // and so it is left
  say("attack %u steps, %u wrong", steps, wrong);
}

/// Works in memory on the last processor, in a process of its own: fills `bytes` of new memory, and
/// compares it, again and again.
class churn {
 public:
  void begin(std::uint64_t bytes) {
    counts_ = static_cast<volatile std::uint64_t*>(
        ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    child_ = ::fork();
    if (child_ != 0) return;
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET(static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN) - 1), &last);
    ::sched_setaffinity(0, sizeof last, &last);
    for (;;) once(bytes / sizeof(std::uint64_t));
  }
  [[nodiscard]] bool has_begun() const { return child_ > 0; }
  void end() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  [[nodiscard]] std::uint64_t rounds() const { return counts_[0]; }
  [[nodiscard]] std::uint64_t wrong() const { return counts_[1]; }

 private:
  void once(std::uint64_t numbers) {
    void* const at = ::mmap(nullptr, numbers * sizeof(std::uint64_t), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto* const memory = static_cast<volatile std::uint64_t*>(at);
    const std::uint64_t first = counts_[0] * numbers + 1;
    for (std::uint64_t i = 0; i < numbers; ++i) memory[i] = first + i;
    for (std::uint64_t i = 0; i < numbers; ++i)
      if (memory[i] != first + i) counts_[1] = counts_[1] + 1;
    ::munmap(at, numbers * sizeof(std::uint64_t));
    counts_[0] = counts_[0] + 1;
  }
  volatile std::uint64_t* counts_ = nullptr;
  pid_t child_ = -1;
};

void obey(std::string_view command) {
  const auto gap = command.find(' ');
  const std::string name{command.substr(0, gap)};
  const std::string rest{gap == command.npos ? "" : command.substr(gap + 1)};
  const std::uint64_t number = std::strtoull(rest.c_str(), nullptr, 0);
  static churn work;
  if (name == "memory") {
    say("memory total %lluK free %lluK inflated %lluK",
        static_cast<unsigned long long>(counted("/proc/meminfo", "MemTotal")),
        static_cast<unsigned long long>(counted("/proc/meminfo", "MemFree")),
        static_cast<unsigned long long>((counted("/proc/vmstat", "balloon_inflate") -
                                         counted("/proc/vmstat", "balloon_deflate")) *
                                        4));
  } else if (name == "touch") {  // makes memory resident in the host, and frees it
    std::byte* const memory = locked(number);
    if (memory != nullptr) ::munmap(memory, number);
    say("touch %s", memory != nullptr ? "done" : "no memory");
  } else if (name == "hold") {
    say("hold %s", locked(number) != nullptr ? "done" : "no memory");
  } else if (name == "dma") {
    dma("dma", number, page);
  } else if (name == "dma-apart") {  // pages far from each other: in many blocks
    dma("dma-apart", number, 128 * page);
  } else if (name == "dma-from") {  // whatever is there, and nothing is written
    edu device;
    if (device.is_there()) device.load(number, edu::most);
    say("dma-from %s", device.is_there() ? "done" : "no device");
  } else if (name == "processors") {
    say("processors %ld", ::sysconf(_SC_NPROCESSORS_ONLN));
  } else if (name == "churn") {
    work.begin(number);
    say("churn %s", work.has_begun() ? "begun" : "no process");
  } else if (name == "churned") {
    work.end();
    say("churned %llu rounds, %llu wrong", static_cast<unsigned long long>(work.rounds()),
        static_cast<unsigned long long>(work.wrong()));
  } else if (name == "write") {  // write VALUE FILE
    const auto space = rest.find(' ');
    std::ofstream to{rest.substr(space + 1)};
    to << rest.substr(0, space) << std::flush;
    say("write %s", to ? "done" : "failed");
  } else if (name == "attack") {
    attack();
  } else if (name == "off") {
    say("off");
    ::reboot(RB_POWER_OFF);
  } else {
    say("%s is no command", name.c_str());
  }
}

}  // namespace

int main() {
  ::iopl(3);
  for (char const* folder : {"/proc", "/sys", "/dev"}) ::mkdir(folder, 0755);
  ::mount("none", "/proc", "proc", 0, nullptr);
  ::mount("none", "/sys", "sysfs", 0, nullptr);
  ::mknod("/dev/mem", S_IFCHR | 0600, makedev(1, 1));
  std::ofstream{"/sys/devices/system/memory/auto_online_blocks"} << "online_movable" << std::flush;
  std::ifstream modules{"/modules/order"};
  for (std::string name; modules >> name;) {
    const int file = ::open(("/modules/" + name + ".ko").c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0 || ::syscall(SYS_finit_module, file, "", 0) != 0)
      say("cannot load %s: %s", name.c_str(), std::strerror(errno));
    ::close(file);
  }
  say("ready");
  for (;;) obey(line());
}
