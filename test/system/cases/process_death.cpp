// SPDX-License-Identifier: BSL-1.0
// A program that uses tether is killed after each call that tether makes of the kernel, while it
// waits for a discard, during a transfer, and in the middle of pinning and unpinning. Each time the
// same program is started again at once and must get through, and nothing of the dead one is there:
// no pin, no busy group or device, no memory. What does keep it there is shown as well.
// tier: 1 2
// machine: -device edu -smp 2
// modules: kvm
// limit: 600
#include <system/in_machine.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <linux/kvm.h>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>

namespace system_process_death {

using namespace in_machine;

namespace {

// The program. It runs in a process of its own, so it does not check: it throws what went wrong.

template <class T>
T sure(result<T> outcome) {
  if (!outcome) throw std::runtime_error{outcome.error().sentence()};
  return std::move(*outcome);
}
void sure(result<void> outcome) {
  if (!outcome) throw std::runtime_error{outcome.error().sentence()};
}
void sure(bool good, const char* what) {
  if (!good) throw std::runtime_error{what};
}

/// Linux, for a process that dies as the `n`-th call of it returns: the kernel has done it, and
/// nobody has been told. Between two calls nothing changes in the kernel, so these are all the
/// points at which a program can die, but those inside a call.
struct mortal_kernel : linux_kernel {
  static inline unsigned dies_after = 0;  ///< 0: it does not
  static inline unsigned calls = 0;

  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    return survive(linux_kernel::mmap(size, protection, flags, descriptor, offset));
  }
  [[nodiscard]] static answer munmap(std::uint64_t host, std::uint64_t size) noexcept {
    return survive(linux_kernel::munmap(host, size));
  }
  [[nodiscard]] static answer madvise(std::uint64_t host, std::uint64_t size, int advice) noexcept {
    return survive(linux_kernel::madvise(host, size, advice));
  }
  [[nodiscard]] static answer fallocate(int descriptor, int mode, std::uint64_t offset,
                                        std::uint64_t size) noexcept {
    return survive(linux_kernel::fallocate(descriptor, mode, offset, size));
  }
  [[nodiscard]] static answer close(int descriptor) noexcept {
    return survive(linux_kernel::close(descriptor));
  }
  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    return survive(linux_kernel::call(number, arguments...));
  }

 private:
  static answer survive(answer was) noexcept {
    if (++calls != dies_after) return was;
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }
};

struct virtual_machine {
  virtual_machine() {
    const int kvm = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
    machine = ::ioctl(kvm, KVM_CREATE_VM, 0);
    ::close(kvm);
  }
  virtual_machine(virtual_machine const&) = delete;
  virtual_machine& operator=(virtual_machine const&) = delete;
  ~virtual_machine() { ::close(machine); }
  int machine = -1;
};

/// What differs: a group is attached and its device opened, or a device attached. Of a mediated
/// device, that it agrees.
struct over_type1 {
  static constexpr const char* name = "type1";
  static basic_vfio_type1<mortal_kernel> backend() { return basic_vfio_type1<mortal_kernel>{}; }
  template <class Container>
  static auto plug(Container& dma, std::string const& device, consent agrees = consent::none) {
    auto group = sure(dma.attach(group_of_device(device)));
    auto opened = sure(group.open(device, agrees));
    return std::pair{group, opened};
  }
  static vfio_group group_of_device(std::string const& device) {
    return sure(vfio_group::of(device));
  }
  static std::string named_in_errors(std::string const& device) {
    return std::string{group_of_device(device).name()};
  }
};
struct over_iommufd {
  static constexpr const char* name = "iommufd";
  using context = basic_iommufd_context<mortal_kernel>;
  static basic_iommufd<mortal_kernel> backend() {
    return sure(basic_iommufd<mortal_kernel>::open(sure(context::open())));
  }
  template <class Container>
  static auto plug(Container& dma, std::string const& device, consent agrees = consent::none) {
    auto attached = sure(dma.attach(sure(vfio_cdev::of(device)), agrees));
    return std::pair{attached, attached};
  }
  static std::string named_in_errors(std::string const& device) { return device; }
};

constexpr std::uint64_t small = 4 * MiB;

template <class Interface>
struct guest_program {
  using kvm_policy = basic_kvm_device<mortal_kernel>;
  using container_type = container<decltype(Interface::backend()), kvm_policy>;
  explicit guest_program(std::uint64_t size = small)
      : ram{sure(ram_block::allocate<mortal_kernel>("ram", size))} {
    sure(guest.place(region::ram(ram), guest_address{0}));
    sure(guest.place(region::ram(mailbox), guest_address{mailbox_at}));
  }
  virtual_machine kvm;
  ram_block ram;
  ram_block mailbox =
      sure(ram_block::allocate<mortal_kernel>("mailbox", page, memory_kind::shared));
  ram_block more = sure(ram_block::allocate<mortal_kernel>("more", 256 * KiB, memory_kind::shared));
  address_space guest;
  discard_gate<> gate;
  tether::balloon<> balloon{guest, gate};
  container_type dma{guest, gate, Interface::backend(), sure(kvm_policy::create(kvm.machine))};
};

/// Everything once: `mediated` is attached first if there is one. `before_a_transfer()` is called
/// then.
template <class Interface, class Call>
void use_everything(std::string const& device, std::string const& mediated,
                    Call before_a_transfer) {
  guest_program<Interface> v;
  sure(v.balloon.inflate(frame_numbers(0, 16)).discarded == 16,
       "nothing is attached, and the balloon does not work");
  if (!mediated.empty()) {
    static_cast<void>(Interface::plug(v.dma, mediated, agrees_to_discards));
    sure(v.balloon.inflate(frame_numbers(0, 16)).discarded == 16,
         "a mediated device agreed, and the balloon does not work");
  }
  auto [attached, opened] = Interface::plug(v.dma, device);
  const auto plugged = sure(v.guest.place(region::ram(v.more), guest_address{64 * MiB}));
  sure(v.balloon.inflate(frame_numbers(0, 16)).inhibited == 16,
       "a device is attached, and the balloon works");
  {
    auto dma = sure(edu::engine<basic_vfio_device<mortal_kernel>>::start(*opened, v.mailbox.data(),
                                                                         io_address{mailbox_at}));
    const auto sent = pattern(1, 1, 64);
    before_a_transfer();
    sure(dma.dma_write(io_address{64 * MiB}, sent));
    sure(std::ranges::equal(sent, std::span{v.more.data(), sent.size()}),
         "the CPU does not see what the device wrote");
  }
  sure(v.guest.remove(plugged));
  sure(attached.detach());
  sure(v.balloon.inflate(frame_numbers(0, 16)).discarded == 16,
       "the device is gone, and the balloon does not work");
}  // what is still attached goes with the container
template <class Interface>
void use_everything(std::string const& device, std::string const& mediated) {
  use_everything<Interface>(device, mediated, [] {});
}

// The one who watches it die.

/// A process of its own. What it says is "done", or what went wrong, or whatever else it writes.
class process {
 public:
  template <class Run>
  explicit process(Run run) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::close(ends[0]);
      const int out = ends[1];
      const auto say = [out](std::string_view what) {
        static_cast<void>(::write(out, what.data(), what.size()) == 0);
      };
      try {
        run(say);
        say("done");
      } catch (std::exception const& wrong) {
        say(wrong.what());
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    from_ = ends[0];
  }
  process(process const&) = delete;
  process& operator=(process const&) = delete;
  ~process() {
    kill();
    ::close(from_);
  }

  [[nodiscard]] pid_t id() const noexcept { return pid_; }
  /// Waits for one byte of what it says.
  [[nodiscard]] char hear() const {
    char one = 0;
    return ::read(from_, &one, 1) == 1 ? one : '\0';
  }
  /// All that it says until it is gone.
  [[nodiscard]] std::string hear_all() {
    std::string all;
    for (char one = hear(); one != '\0'; one = hear()) all += one;
    wait();
    return all;
  }
  /// Ensures: it is gone, and the kernel has let go of everything that was its alone.
  void kill() {
    if (gone_) return;
    ::kill(pid_, SIGKILL);
    wait();
  }
  [[nodiscard]] bool has_ended() const {
    siginfo_t who{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &who, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           who.si_pid != 0;
  }
  void wait() {
    if (!gone_) ::waitpid(pid_, nullptr, 0);
    gone_ = true;
  }

 private:
  pid_t pid_ = -1;
  int from_ = -1;
  bool gone_ = false;
};

/// A line of /proc/vmstat, as far as the processors have said by now.
std::uint64_t counted_by_the_kernel(std::string_view what) {
  std::ifstream file{"/proc/vmstat"};
  std::uint64_t count = 0;
  for (std::string word; file >> word >> count;) {
    if (word == what) return count;
  }
  return 0;
}
/// What nobody uses: the kernel drops its caches first, and the pages that each processor keeps for
/// its next allocation are free too, some MiB that "MemFree" leaves out.
std::uint64_t free_memory() {
  write_file("/proc/sys/vm/drop_caches", "3");
  std::ifstream file{"/proc/zoneinfo"};
  std::uint64_t pages = 0;
  std::string before;
  for (std::string word; file >> word; before = word) {
    std::uint64_t count = 0;
    if ((before == "pages" && word == "free") || word == "count:") file >> count;
    pages += count;
  }
  REQUIRE(pages != 0);
  return pages * page;
}

template <class Interface>
class deaths {
 public:
  deaths() {
    if (::access("/sys/class/mdev_bus/mtty", F_OK) == 0) serial_.emplace();
    start_again();
  }
  ~deaths() {
    CHECK(kernel_log().find("WARNING:") == std::string::npos);
    CHECK(kernel_log().find("BUG:") == std::string::npos);
    const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
    std::printf(
        "figures: process death %s on %s: %llu points, %llu of them in the middle of pinning or "
        "unpinning, %llu restarts\n",
        Interface::name, kernel_is("6.1") ? "Linux 6.1" : "Linux 6.12", number(points_),
        number(half_way_), number(restarts_));
  }

  void after_every_call() {
    process whole{[&](auto say) {
      use_everything<Interface>(device_, mediated());
      say(std::to_string(mortal_kernel::calls) + ' ');
    }};
    const auto calls = std::stoul(whole.hear_all());
    REQUIRE(calls > 20);
    std::optional<std::uint64_t> free_then;
    for (unsigned n = 1;; ++n) {
      INFO("killed after call " << n);
      process victim{[&](auto) {
        mortal_kernel::dies_after = n;
        use_everything<Interface>(device_, mediated());
      }};
      const auto said = victim.hear_all();
      if (said == "done") break;
      CHECK(said == "");
      dies(victim);
      if (n == 10) free_then = free_memory();  // the allocators have by now what they keep
    }
    CHECK(points_ == calls);
    REQUIRE(free_then.has_value());
    // the half of one of these guests is for what the kernel keeps for itself
    CHECK(free_memory() + small / 2 > *free_then);
  }

  void while_it_waits_for_a_discard() {
    process victim{[&](auto say) {
      guest_program<Interface> v;
      std::atomic<bool> discarding{false};
      std::jthread discarder{[&] {
        const auto permit = v.gate.permit(discard_kind::uncoordinated);
        discarding = static_cast<bool>(permit);
        discarding.notify_all();
        for (;;) ::pause();
      }};
      discarding.wait(false);
      say("w");
      static_cast<void>(Interface::plug(v.dma, device_));
    }};
    REQUIRE(victim.hear() == 'w');
    const auto waits = [&] {
      std::string call;
      std::ifstream{"/proc/" + std::to_string(victim.id()) + "/syscall"} >> call;
      return call == std::to_string(SYS_futex);
    };
    while (!waits()) {
      REQUIRE_FALSE(victim.has_ended());
      ::usleep(100);
    }
    dies(victim);
  }

  void while_the_device_works() {
    for (unsigned turn = 0; turn < tries; ++turn) {
      process victim{
          [&](auto say) { use_everything<Interface>(device_, mediated(), [&] { say("t"); }); }};
      REQUIRE(victim.hear() == 't');
      dies(victim);
    }
  }

  /// In the middle of what pins a large block: mapping it, or, with a mediated device there first,
  /// the join itself.
  void while_it_pins(bool by_joining) {
    if (by_joining && !serial_) return;
    for (unsigned turn = 0; turn < tries; ++turn) {
      const auto at = counted_by_the_kernel("nr_foll_pin_acquired") + moment(turn);
      process victim{[&](auto say) {
        guest_program<Interface> v{large};
        if (by_joining) static_cast<void>(Interface::plug(v.dma, mediated(), agrees_to_discards));
        static_cast<void>(Interface::plug(v.dma, device_));
        say("e");
      }};
      die_when("nr_foll_pin_acquired", at, victim);
    }
  }
  void while_it_unpins() {
    for (unsigned turn = 0; turn < tries; ++turn) {
      process victim{[&](auto say) {
        guest_program<Interface> v{large};
        auto plugged = Interface::plug(v.dma, device_);
        say("b");
        sure(plugged.first.detach());
        say("e");
      }};
      const auto before = counted_by_the_kernel("nr_foll_pin_released");
      REQUIRE(victim.hear() == 'b');
      die_when("nr_foll_pin_released", before + moment(turn), victim);
    }
  }

  /// Not everything dies with a program: a helper that it has forked has its descriptors too,
  /// unless it runs another program.
  void but_a_helper_lives(bool with_kvm_alone) {
    REQUIRE(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t helper = 0;
    {
      process victim{[&](auto say) {
        guest_program<Interface> v;
        static_cast<void>(Interface::plug(v.dma, device_));
        if (const pid_t forked = ::fork(); forked != 0) {
          say(std::to_string(forked) + ";");
        } else if (with_kvm_alone) {
          for (int file = 3; file < 64; ++file) {
            std::error_code none;
            const auto path =
                std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(file), none)
                    .string();
            if (!path.starts_with("anon_inode:kvm")) ::close(file);
          }
        }
        for (;;) ::pause();
      }};
      for (char digit = victim.hear(); digit >= '0' && digit <= '9'; digit = victim.hear())
        helper = helper * 10 + (digit - '0');
      REQUIRE(helper > 0);
      victim.kill();
    }
    CHECK(pinned_now() != 0);
    process again{[&](auto) { use_everything<Interface>(device_, mediated()); }};
    const auto said = again.hear_all();
    CHECK_MESSAGE(said.find(Interface::named_in_errors(device_)) != std::string::npos, said);
    CHECK_MESSAGE(said.find("process") != std::string::npos, said);
    std::printf("told: while a helper %s: %s\n",
                with_kvm_alone ? "has KVM's descriptors alone" : "lives", said.c_str());
    ::kill(helper, SIGKILL);
    REQUIRE(::waitpid(helper, nullptr, 0) == helper);
    nothing_is_left();
    start_again();
  }

 private:
  static constexpr std::uint64_t large = 64 * MiB;
  static constexpr unsigned tries = 4;

  [[nodiscard]] std::string mediated() const { return serial_ ? serial_->name() : std::string{}; }
  /// Counted in pages, and different at every turn: a little, most, and in between.
  static std::uint64_t moment(unsigned turn) { return large / page * (2 * turn + 1) / (2 * tries); }

  void nothing_is_left() {
    CHECK(pinned_now() == 0);
    const auto group = group_of(device_);
    const int file = ::open(group.path(), O_RDWR | O_CLOEXEC);  // the kernel lets in one at a time
    CHECK(file >= 0);
    ::close(file);
  }
  /// At once: nothing is waited for but the death itself.
  void start_again() {
    process again{[&](auto) { use_everything<Interface>(device_, mediated()); }};
    CHECK(again.hear_all() == "done");
    CHECK(pinned_now() == 0);
    ++restarts_;
  }
  void dies(process& victim) {
    victim.kill();
    ++points_;
    nothing_is_left();
    start_again();
  }
  /// It says 'e' when it is through.
  void die_when(std::string_view what, std::uint64_t count, process& victim) {
    while (counted_by_the_kernel(what) < count && !victim.has_ended()) {}
    victim.kill();
    half_way_ += victim.hear() == 'e' ? 0U : 1U;
    dies(victim);
  }

  /// Stays, so that no guest is the first or the last: with these Linux rewrites the code of its
  /// scheduler, and an emulated processor that has translated that code before may go on meeting
  /// the breakpoint that stood there meanwhile, for ever.
  virtual_machine one_that_stays_;
  std::optional<mediated_device> serial_;
  std::string device_ = edu_address();
  std::uint64_t points_ = 0;
  std::uint64_t restarts_ = 0;

 public:
  std::uint64_t half_way_ = 0;
};

template <class Interface>
void dies() {
  deaths<Interface> program;
  const auto begin = [](const char* what) {  // so that the log says where it stopped, if it did
    std::printf("told: %s: killed %s\n", Interface::name, what);
    std::fflush(stdout);
  };
  begin("after each call");
  program.after_every_call();
  begin("while it waits for a discard");
  program.while_it_waits_for_a_discard();
  begin("while the device works");
  program.while_the_device_works();
  begin("while it pins");
  program.while_it_pins(false);
  program.while_it_pins(true);
  begin("while it unpins");
  program.while_it_unpins();
  CHECK(program.half_way_ != 0);
  begin("while a helper lives");
  program.but_a_helper_lives(false);
  program.but_a_helper_lives(true);
}

}  // namespace

TEST_CASE(
    "a program that uses type1 may be killed at any point: it starts again at once, and nothing is "
    "left") {
  dies<over_type1>();
}
TEST_CASE(
    "a program that uses iommufd may be killed at any point: it starts again at once, and nothing "
    "is left") {
  if (::access("/dev/iommu", F_OK) != 0)
    return static_cast<void>(std::puts("told: this kernel has no iommufd"));
  dies<over_iommufd>();
}

}  // namespace system_process_death
