// SPDX-License-Identifier: BSL-1.0
// Everything at once: memory is plugged and unplugged, overlays move, groups come and go with and
// without consent, balloons inflate, free pages are reported, devices translate, one is unplugged
// while others use it by leases; one container pins through io_uring, another one is a software
// IOMMU. An auditor asks the devices what they see and the CPU what it sees, page by page: they
// agree, whatever the others do.
//
//     device --dma_write--> word A of a page --load--> auditor          what one writes the other must read:
//     auditor --store--> word B of a page --dma_read--> device          nothing may have put another frame in between
//
// A page that is pinned needs no help: holds alone must keep its frame. Where nothing is pinned a
// discard between write and read is right, and a page of zeros no disagreement; there the auditor
// suspends discards while it looks. Memory that is being unplugged says so with an epoch, odd while
// it goes, and what was compared across a change of it does not count.
//
// A DIMM in pages of 64 KiB or of 256 KiB leaves the map and comes again, is hidden and seen, or
// another block takes its place. Each time it is memory anew, of which the guest never gives more
// than two quarters of any page: nothing of it may ever go.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/discard/detail/virtio_mem_wire.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/discard/virtio_mem.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/listen/progress.hpp>
#include <tether/topology/population.hpp>

#include <support/amount.hpp>
#include <support/lock_order.hpp>
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/proof_seeds.hpp>
#include <support/skip.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace exhaustive_the_whole_under_threads {

using namespace tether;
using tether_test::amount;
using tether_test::must;

namespace {

constexpr std::uint64_t page = 4 * KiB;
constexpr std::uint64_t low_pages = 64;
constexpr std::uint64_t plugged_pages = 32;
constexpr std::uint64_t plugged_at = 1 * MiB;
constexpr std::uint64_t overlay_pages = 4;
constexpr std::uint64_t dimm_pages = 64;
constexpr std::uint64_t dimm_at = 2 * MiB;
constexpr std::uint64_t unit = 64 * KiB;
constexpr std::uint64_t unit_count = 4;
constexpr std::uint64_t ballooned_at = 4 * MiB;
constexpr std::uint64_t hotplug_at = 5 * MiB;

// Words of a page. Each belongs to one thread, so that only device and CPU can disagree about it.
constexpr std::uint64_t word_of_reader[2]{64, 128};
constexpr std::uint64_t word_of_vcpu = 192;
constexpr std::uint64_t word_from_device = 256;
constexpr std::uint64_t word_from_cpu = 320;
constexpr std::uint64_t word_of_lessee[2]{384, 448};

/// What a thread does, for the watchdog and the end: how often it has done it, how often it must,
/// and what it is at just now.
struct work {
  work(const char* called, std::uint64_t must_do, bool may_pause)
      : name{called}, goal{must_do}, pauses{may_pause} {}
  const char* name;
  std::uint64_t goal;
  bool pauses;  ///< where it is far ahead of another; not where that one can do nothing without it
  std::atomic<std::uint64_t> done{0};
  std::atomic<const char*> doing{"nothing yet"};
  std::atomic<bool> paused{false};

  [[nodiscard]] double share() const noexcept {
    return static_cast<double>(done.load(std::memory_order_relaxed)) / static_cast<double>(goal);
  }
  void at(const char* what) noexcept { doing.store(what, std::memory_order_relaxed); }
  void did(std::uint64_t times = 1) noexcept { done.fetch_add(times, std::memory_order_relaxed); }
};

/// All threads of a run. They go on until each has reached its goal, or something is wrong, and
/// keep about the same pace: a thread that is far ahead would only keep locks from the others.
class crew {
 public:
  /// How long any one of them may get nowhere. A machine that is this slow is a machine that hangs.
  explicit crew(std::chrono::milliseconds wait_limits = std::chrono::seconds{90})
      : patience_{wait_limits} {}
  crew(crew const&) = delete;
  crew& operator=(crew const&) = delete;
  ~crew() { end(); }

  /// `act(work&)` is called again and again.
  template <class Act>
  work& hire(const char* name, std::uint64_t goal, Act act, bool pauses = true) {
    work& mine = all_.emplace_back(name, goal, pauses);
    threads_.emplace_back([this, &mine, act]() mutable {
      while (!finished_.load(std::memory_order_relaxed)) {
        act(mine);
        while (hired_.load() && mine.pauses && far_ahead(mine) && !finished()) {
          mine.paused = true;
          // for politeness; nothing waits for it
          std::this_thread::sleep_for(std::chrono::microseconds{50});
        }
        mine.paused = false;
      }
    });
    return mine;
  }
  void finish() noexcept { finished_ = true; }
  [[nodiscard]] bool finished() const noexcept { return finished_.load(std::memory_order_relaxed); }

  /// Watches until all goals are reached. Where a thread hangs the program is stopped, with what
  /// each was doing: it cannot be joined.
  void watch() {
    hired_ = true;
    std::vector<std::uint64_t> before(all_.size());
    std::vector<std::chrono::steady_clock::time_point> since(all_.size(),
                                                             std::chrono::steady_clock::now());
    for (bool reached = false; !reached && !finished();) {
      // only looks now and then; nothing waits for it
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
      reached = true;
      const auto now = std::chrono::steady_clock::now();
      std::size_t i = 0;
      for (work& one : all_) {
        const auto done = one.done.load(std::memory_order_relaxed);
        if (done != std::exchange(before[i], done) || one.paused) since[i] = now;
        if (now - since[i] > patience_) hangs(one);
        reached = reached && done >= one.goal;
        ++i;
      }
    }
    finish();
    // Who is on its way out must get there as well.
    std::thread joining{[this] { end(); }};
    for (const auto begin = std::chrono::steady_clock::now(); !ended_.load();) {
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
      if (std::chrono::steady_clock::now() - begin > patience_) hangs(all_.front());
    }
    joining.join();
  }
  [[nodiscard]] std::uint64_t operations() const {
    std::uint64_t sum = 0;
    for (work const& one : all_) sum += one.done.load();
    return sum;
  }
  [[nodiscard]] std::string table() const {
    std::string text;
    for (work const& one : all_) {
      text += "  " + std::string{one.name} + ": " + std::to_string(one.done.load()) + " of " +
              std::to_string(one.goal);
      text += std::string{", at: "} + one.doing.load() + "\n";
    }
    return text;
  }

 private:
  void end() {
    finish();
    for (auto& one : threads_) {
      if (one.joinable()) one.join();
    }
    ended_ = true;
  }
  /// By more than a tenth of its goal. Requires: everybody is hired.
  bool far_ahead(work const& mine) const noexcept {
    const double own = mine.share();
    return std::ranges::any_of(all_, [&](work const& one) { return one.share() + 0.1 < own; });
  }
  [[noreturn]] void hangs(work const& first) {
    std::fprintf(stderr, "no progress: %s\n%s", first.name, table().c_str());
    std::fflush(stderr);
    std::abort();
  }

  std::chrono::milliseconds patience_;
  std::atomic<bool> hired_{false};
  std::atomic<bool> finished_{false};
  std::atomic<bool> ended_{false};
  std::list<work> all_;
  std::list<std::thread> threads_;
};

/// A word of guest memory, as a CPU reads and writes it.
std::uint64_t load(std::byte const* at) noexcept {
  return std::atomic_ref<std::uint64_t>{
      *reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(at))}
      .load(std::memory_order_relaxed);
}
void store(std::byte* at, std::uint64_t value) noexcept {
  std::atomic_ref<std::uint64_t>{*reinterpret_cast<std::uint64_t*>(at)}.store(
      value, std::memory_order_relaxed);
}
std::span<std::byte> bytes_of(std::uint64_t& word) noexcept {
  return std::as_writable_bytes(std::span{&word, 1});
}

// Groups. `consenting` devices agree to discards where they are opened so.
endpoint_group const audited_nics{"audited nics", {{"nic", pin_class::pins}}};
endpoint_group const audited_vgpus{"audited vgpus", {{"vgpu", pin_class::pins_on_demand}}};
endpoint_group const other_nics{"nics", {{"nic", pin_class::pins}}};
endpoint_group const other_vgpus{
    "vgpus", {{"vgpu", pin_class::pins_on_demand}, {"vgpu2", pin_class::pins_on_demand}}};
endpoint_group const reader_groups[2]{{"reader 1", {{"engine", pin_class::pins_on_demand}}},
                                      {"reader 2", {{"engine", pin_class::pins_on_demand}}}};
endpoint_group const leased_group{"leased", {{"engine", pin_class::pins_on_demand}}};

/// io_uring buffers that say they pin nothing: what they are given no hold protects.
struct says_it_pins_nothing : io_uring_buffers {
  explicit says_it_pins_nothing(io_uring_buffers&& real) : io_uring_buffers{std::move(real)} {}
  static constexpr bool pins = false;
};

struct what_came_of_it {
  std::uint64_t operations = 0;
  std::uint64_t audits = 0;
  std::uint64_t disagreements = 0;
  std::uint64_t unexpected = 0;
  std::string first_unexpected;
  std::uint64_t discarded = 0;
  std::uint64_t inhibited = 0;
  std::uint64_t under_a_lease = 0;
  std::uint64_t units_gone = 0;  ///< while something may be attached
  std::uint64_t units_back = 0;
  std::uint64_t units_audited = 0;  ///< pages of them
  std::vector<std::string> order_violations;
  std::size_t order_pairs = 0;
  std::string table;
};

/// The goals of the threads, for a run that is `share` times the usual one.
struct goals {
  double share = 1;
  [[nodiscard]] std::uint64_t of(std::uint64_t plain) const {
    return static_cast<std::uint64_t>(static_cast<double>(amount(plain)) * share) + 1;
  }
};

/// Where what pins maps in blocks, units of divided memory come and go all along: by a coordinated
/// balloon, and by a virtio-mem device.
template <class Threading, class Pinning, class Inhibition, class Granularity = whole_section>
class whole {
  using pinning_container = container<Pinning, Inhibition, Granularity, Threading>;
  static constexpr bool has_units = maps_in_blocks<Granularity>;
  using software_container = container<software_iommu, Threading, fixed_block<64 * KiB>>;

 public:
  explicit whole(Pinning backend, bool until_first_disagreement = false)
      : until_first_{until_first_disagreement} {
    {
      const tether_test::naming names{order_, "map", {tether_test::lock_rank::topology}};
      map_place_.emplace();
    }
    {
      const tether_test::naming names{
          order_, "gate", {tether_test::lock_rank::gate, tether_test::lock_rank::gate}};
      gate_.emplace();
    }
    {
      const tether_test::naming names{order_, "balloon", {tether_test::lock_rank::discard_state}};
      balloon_.emplace(guest_, *gate_, balloon_options{.must_tell_host = true});
    }
    reporting_.emplace(guest_, *gate_);
    must_place(region::ram(low_), guest_address{0}, 0);
    std::memset(dimm_memory_.data(), 0x5a, dimm_memory_.size());
    dimm_.emplace(make_dimm());
    dimm_region_ = must(guest_.place(region::ram(*dimm_), guest_address{dimm_at}));
    {
      const tether_test::naming names{
          order_,
          "pinning",
          {tether_test::lock_rank::operation, tether_test::lock_rank::container,
           tether_test::lock_rank::records}};
      pinning_.emplace(guest_, *gate_, std::move(backend));
    }
    {
      const tether_test::naming names{
          order_,
          "software",
          {tether_test::lock_rank::operation, tether_test::lock_rank::container,
           tether_test::lock_rank::records}};
      software_.emplace(guest_, *gate_);
    }
    if constexpr (has_units) {
      for (ram_block* const one : {&ballooned_, &hotplug_}) must(divide(*one, unit));
      must_place(region::ram(ballooned_), guest_address{ballooned_at}, 0);
      must_place(region::ram(hotplug_), guest_address{hotplug_at}, 0);
      const tether_test::naming names{
          order_, "virtio-mem", {tether_test::lock_rank::discard_state}};
      memory_device_ = must(
          virtio_mem<Threading>::create("memory", hotplug_, guest_address{hotplug_at}, *gate_));
      static_cast<void>(must(memory_device_->request_size(hotplug_.size())));
    }
  }
  whole(whole const&) = delete;
  whole& operator=(whole const&) = delete;

  what_came_of_it run(goals share) {
    crew all;
    all_ = &all;
    const bool slow = tether_test::unpins_slowly();
    for (std::size_t i = 0; i < 2; ++i) {
      all.hire(i == 0 ? "translations" : "more translations", share.of(2'000'000),
               [this, i, at = random(10 + i)](work& mine) mutable { translate(mine, i, at); });
    }
    for (std::size_t i = 0; i < 2; ++i) {
      all.hire(
          i == 0 ? "leases" : "more leases", share.of(slow ? 50 : 4'000),
          [this, i, at = random(20 + i)](work& mine) mutable { use_what_is_leased(mine, i, at); });
    }
    constexpr bool pauses = false;  // a lease can only be taken of what it plugs in
    all.hire(
        "unplugs under leases", share.of(slow ? 20 : 2'000),
        [this](work& mine) { unplug_what_is_leased(mine); }, pauses);
    all.hire("permits", share.of(2'000'000), [this](work& mine) { ask_for_permits(mine); });
    all.hire("virtual CPU", share.of(2'000'000),
             [this, at = random(1)](work& mine) mutable { touch_memory(mine, at); });
    all.hire("memory map", share.of(slow ? 20 : 4'000),
             [this, at = random(2)](work& mine) mutable { change_the_map(mine, at); });
    all.hire("DIMM", share.of(slow ? 20 : 1'000),
             [this, at = random(7)](work& mine) mutable { change_the_dimm(mine, at); });
    all.hire("balloon of the DIMM", share.of(100'000),
             [this](work& mine) { inflate_the_dimm(mine); });
    all.hire("balloon", share.of(4'000),
             [this, at = random(3)](work& mine) mutable { inflate(mine, at); });
    all.hire("page reporting", share.of(4'000),
             [this, at = random(4)](work& mine) mutable { report(mine, at); });
    all.hire("groups that pin", share.of(slow ? 5 : 800),
             [this, at = random(5)](work& mine) mutable { come_and_go(mine, *pinning_, at); });
    all.hire("groups of the software IOMMU", share.of(1'500),
             [this, at = random(6)](work& mine) mutable { come_and_go(mine, *software_, at); });
    if constexpr (has_units) {
      all.hire("balloon of units", share.of(slow ? 50 : 1'000),
               [this, at = random(8)](work& mine) mutable { balloon_units(mine, at); });
      all.hire("virtio-mem", share.of(slow ? 50 : 1'000),
               [this, at = random(9)](work& mine) mutable { plug_units(mine, at); });
    }
    all.hire("auditor", share.of(slow ? 500 : 40'000), [this](work& mine) { audit(mine); });
    all.watch();
    all_ = nullptr;
    what_came_of_it out;
    out.operations = all.operations();
    out.audits = audits_;
    out.disagreements = disagreements_;
    out.unexpected = unexpected_;
    out.first_unexpected = first_unexpected_;
    out.discarded = discarded_;
    out.inhibited = inhibited_;
    out.under_a_lease = under_a_lease_;
    out.units_gone = units_gone_;
    out.units_back = units_back_;
    out.units_audited = units_audited_;
    out.order_violations = order_.violations();
    out.order_pairs = order_.pairs();
    out.table = all.table();
    return out;
  }
  /// What all of them left. Requires: `run` has ended.
  void check_nothing_is_left() {
    memory_device_.reset();
    CHECK(pinning_->usage() == mapped_usage{});
    CHECK(software_->usage() == mapped_usage{});
    CHECK(pinning_->membership() == container_counts{});
    CHECK_FALSE(pinning_->diverged());
    CHECK_FALSE(software_->diverged());
    CHECK(gate_->counts() == gate_counts{});
  }

 private:
  using random_source = std::minstd_rand;
  static random_source random(std::uint64_t which) {
    return random_source{static_cast<std::uint32_t>(tether_test::seed() + which)};
  }
  static std::uint64_t below(random_source& from, std::uint64_t limit) { return from() % limit; }

  // Outcomes.

  void wrong(const char* what, std::string const& why) {
    if (unexpected_.fetch_add(1) == 0) {
      first_unexpected_ = std::string{what} + ": " + why;
      all_->finish();
    }
  }
  template <class T>
  bool fine(result<T> const& outcome, const char* what,
            std::initializer_list<std::error_code> allowed = {}) {
    if (outcome) return true;
    for (auto const& one : allowed) {
      if (outcome.error().code() == one) return false;
    }
    wrong(what, std::string{outcome.error().sentence()});
    return false;
  }
  void must_place(region const& what, guest_address at, int priority) {
    static_cast<void>(must(guest_.place(what, at, priority)));
  }

  // The threads' work.

  /// A device of the software IOMMU writes and reads a word that is its own, and now and then comes
  /// anew.
  void translate(work& mine, std::size_t which, random_source& at) {
    mine.at("attaching a reader's group");
    auto group = software_->attach(reader_groups[which]);
    if (!fine(group, "attach a reader's group")) return;
    mine.at("opening a reader's device");
    auto device = group->open("engine", agrees_to_discards);
    if (fine(device, "open a reader's device")) {
      mine.at("translating");
      auto& engine = **device;
      for (int i = 0; i < 2'000 && !all_->finished(); ++i) {
        const bool plugged = below(at, 3) == 0;
        const std::uint64_t where_page =
            plugged ? plugged_at / page + below(at, plugged_pages) : below(at, low_pages);
        const io_address where{where_page * page + word_of_reader[which]};
        std::uint64_t sent = at() + 1;
        std::uint64_t got = sent;
        if (!fine(engine.dma_write(where, bytes_of(sent)), "DMA write", {errc::not_mapped}))
          continue;
        if (fine(engine.dma_read(where, bytes_of(got)), "DMA read", {errc::not_mapped}) &&
            got != sent && got != 0) {
          wrong("translation", "read " + std::to_string(got) + " where " + std::to_string(sent) +
                                   " or nothing was");
        }
        mine.did(2);
      }
    }
    mine.at("detaching a reader's group");
    fine(group->detach(), "detach a reader's group");
  }
  /// Two threads use one device of the software IOMMU, which a third unplugs whenever no lease of
  /// it is out.
  void use_what_is_leased(work& mine, std::size_t which, random_source& at) {
    mine.at("taking a lease");
    std::optional<opened_device<software_container>> device;
    {
      const std::lock_guard lock{handing_over_};
      device = leased_;
    }
    if (!device) return std::this_thread::yield();
    auto engine = device->lease();
    if (!fine(engine, "lease a device", {errc::stale_handle})) return;
    leases_ += 1;
    mine.at("using a lease");
    for (int i = 0; i < 20 && !all_->finished(); ++i) {
      const io_address where{below(at, low_pages) * page + word_of_lessee[which]};
      std::uint64_t sent = at() + 1;
      std::uint64_t got = sent;
      if (!fine((*engine)->dma_write(where, bytes_of(sent)), "leased DMA write",
                {errc::not_mapped}))
        continue;
      if (fine((*engine)->dma_read(where, bytes_of(got)), "leased DMA read", {errc::not_mapped}) &&
          got != sent && got != 0) {
        wrong("a leased device",
              "read " + std::to_string(got) + " where " + std::to_string(sent) + " or nothing was");
      }
    }
    mine.did();
  }
  void unplug_what_is_leased(work& mine) {
    mine.at("plugging a device in for lease");
    auto group = software_->attach(leased_group);
    if (!fine(group, "attach a group for lease")) return;
    auto device = group->open("engine", agrees_to_discards);
    const auto hand_over = [&](std::optional<opened_device<software_container>> one) {
      const std::lock_guard lock{handing_over_};
      leased_ = one;
    };
    const std::uint64_t before = leases_;
    if (fine(device, "open a device for lease")) hand_over(*device);
    mine.at("waiting for somebody to take a lease");
    // Not for ever: who is far ahead of this thread pauses until it has caught up.
    for (int i = 0; i < 400 && leases_ == before && !all_->finished(); ++i)
      std::this_thread::sleep_for(std::chrono::microseconds{50});
    mine.at("unplugging what is leased");
    fine(group->request_unplug(), "request unplug of what is leased");
    // The threads that use it let go soon, whatever becomes of the run; so that they do not take
    // turns for ever it is taken from them.
    for (int refused = 0;; ++refused) {
      const auto gone = group->detach();
      if (fine(gone, "detach what is leased", {errc::still_in_use}) ||
          !gone.error().is(errc::still_in_use))
        break;
      under_a_lease_ += 1;
      if (refused == 8) hand_over(std::nullopt);
      std::this_thread::yield();
    }
    mine.did();
  }
  void ask_for_permits(work& mine) {
    mine.at("asking for permits");
    for (int i = 0; i < 1'000; ++i) {
      const auto permit =
          gate_->permit(i % 2 == 0 ? discard_kind::uncoordinated : discard_kind::coordinated);
      static_cast<void>(permit);
    }
    mine.did(1'000);
  }
  /// Writes everywhere, so that what was discarded gets other frames.
  void touch_memory(work& mine, random_source& at) {
    mine.at("touching memory");
    for (int i = 0; i < 200; ++i) {
      std::byte* const word = low_.data() + below(at, low_pages) * page + word_of_vcpu;
      const std::uint64_t sent = at() + 1;
      store(word, sent);
      if (const auto got = load(word); got != sent && got != 0)
        wrong("a CPU", "reads what nobody wrote");
    }
    mine.did(200);
  }
  /// Plugs memory, moves an overlay over RAM, and takes both away: in one transaction or in
  /// several, refusable or not.
  void change_the_map(work& mine, random_source& at) {
    const auto commit = [&](const char* what, commit_kind kind, auto edit) {
      mine.at(what);
      const tether_test::in_place_of turn{*map_place_};
      auto change = guest_.begin(kind);
      fine(edit(change), what);
      mine.at("committing");
      const auto done = change.commit();
      if (fine(done, what) && !done->fenced.empty())
        wrong(what, std::string{done->fenced.front().sentence()});
      mine.did();
    };
    const auto any = [&] {
      return below(at, 4) == 0 ? commit_kind::compulsory : commit_kind::refusable;
    };
    region_id memory{};
    region_id registers{};
    commit("plugging memory", any(), [&](transaction& change) {
      return change.place(region::ram(plugged_), guest_address{plugged_at}).map([&](region_id id) {
        memory = id;
      });
    });
    commit("placing an overlay", any(), [&](transaction& change) {
      auto placed = change.place(region::mmio("registers", overlay_pages * page),
                                 guest_address{48 * page}, 1);
      return placed.map([&](region_id id) { registers = id; });
    });
    for (int i = 0; i < 4; ++i) {
      const guest_address to{(40 + below(at, 20)) * page};
      commit("moving an overlay", any(),
             [&](transaction& change) { return change.move(registers, to); });
    }
    epoch_.fetch_add(1);
    commit("unplugging memory", any(), [&](transaction& change) {
      auto gone = change.remove(memory);
      return gone ? change.remove(registers) : gone;
    });
    // The guest has let go of it, but a container that is attaching just now may be pinning what
    // was there when it began: so this is a discard like any other, and asks.
    mine.at("discarding unplugged memory");
    if (const auto permit = gate_->permit(discard_kind::uncoordinated)) {
      fine(plugged_.discard({block_offset{0}, block_offset{plugged_.size() - 1}}, permit),
           "discard unplugged memory");
    }
    epoch_.fetch_add(1);
  }
  ram_block make_dimm() {
    const std::uint64_t dimm_page = ++dimms_ % 2 == 0 ? 64 * KiB : 256 * KiB;
    const host_address host{round_up(dimm_memory_.host().value, 256 * KiB)};
    return must(ram_block::borrow("DIMM", host, dimm_pages * page, memory_kind::private_anonymous,
                                  dimm_page));
  }
  /// The DIMM leaves what the guest sees as memory of its own, and comes again.
  void change_the_dimm(work& mine, random_source& at) {
    const auto commit = [&](const char* what, auto edit) {
      mine.at(what);
      const tether_test::in_place_of turn{*map_place_};
      fine(edit(), what);
      mine.did();
    };
    // For a while, until something was given of it: a life of which nothing was noted shows
    // nothing.
    mine.at("waiting for the DIMM's balloon");
    for (int turn = 0; turn < 1'000 && dimm_given_in_ != dimm_life_ && !all_->finished(); ++turn)
      std::this_thread::yield();
    switch (below(at, 4)) {
      case 0:
        commit("making the DIMM read-only",
               [&] { return guest_.set_read_only(dimm_region_, true); });
        commit("making the DIMM writable",
               [&] { return guest_.set_read_only(dimm_region_, false); });
        break;
      case 1:
        commit("disabling the DIMM", [&] { return guest_.set_enabled(dimm_region_, false); });
        commit("enabling the DIMM", [&] { return guest_.set_enabled(dimm_region_, true); });
        break;
      default:
        commit("unplugging the DIMM", [&] { return guest_.remove(dimm_region_); });
        if (below(at, 8) == 0) {
          mine.at("freeing the DIMM");
          while (!dimm_->free()) std::this_thread::yield();  // a view still mentions it
          dimm_.emplace(make_dimm());
        }
        commit("plugging the DIMM", [&] {
          return guest_.place(region::ram(*dimm_), guest_address{dimm_at}).map([&](region_id id) {
            dimm_region_ = id;
          });
        });
        break;
    }
    dimm_life_.fetch_add(1);
  }
  /// A quarter of every page, and in each of its lives the same: only the request that a change
  /// overtakes names another.
  void inflate_the_dimm(work& mine) {
    mine.at("inflating the DIMM");
    const std::uint64_t life = dimm_life_.load();
    std::vector<std::uint32_t> frames;
    for (std::uint32_t frame = 0; frame < dimm_pages; ++frame)
      if (frame % 4 == life % 4)
        frames.push_back(static_cast<std::uint32_t>(dimm_at / page) + frame);
    const auto given = balloon_->inflate(frames);
    note(given);
    if (!given.adds_up()) wrong("balloon", "its report does not add up");
    if (given.partial != 0) dimm_given_in_ = life;
    if (given.discarded != 0 || given.completed != 0)
      wrong("balloon", "a page went of which the guest had given no more than a half");
    mine.did();
  }
  void inflate(work& mine, random_source& at) {
    mine.at("inflating");
    std::array<std::uint32_t, 256> frames{};
    for (auto& one : frames) {
      one = static_cast<std::uint32_t>(
          below(at, 4) == 0 ? plugged_at / page + below(at, plugged_pages) : below(at, low_pages));
    }
    const auto given = balloon_->inflate(frames);
    note(given);
    mine.at("deflating");
    const auto taken = balloon_->deflate(std::span{frames}.first(64));
    if (!given.adds_up() || !taken.adds_up()) wrong("balloon", "its report does not add up");
    mine.did();
    std::this_thread::yield();
  }
  void report(work& mine, random_source& at) {
    mine.at("reporting free pages");
    std::array<extent<guest_address>, 4> ranges{};
    for (auto& one : ranges) {
      const std::uint64_t first = below(at, low_pages - 8) * page;
      one = {guest_address{first}, guest_address{first + 8 * page - 1}};
    }
    const auto given = reporting_->report(ranges);
    note(given);
    if (!given.adds_up()) wrong("page reporting", "its report does not add up");
    mine.did();
    std::this_thread::yield();
  }
  /// The guest gives all frames of some units, and takes them back; in between it uses them.
  void balloon_units(work& mine, random_source& at) {
    constexpr std::uint64_t in_unit = unit / page;
    std::vector<std::uint32_t> frames;
    const std::uint64_t first = below(at, unit_count), count = 1 + below(at, 2);
    for (std::uint64_t i = 0; i < count * in_unit; ++i)
      frames.push_back(static_cast<std::uint32_t>(ballooned_at / page +
                                                  (first * in_unit + i) % (unit_count * in_unit)));
    balloon_epoch_.fetch_add(1);
    mine.at("inflating units");
    const auto given = balloon_->inflate(std::span<std::uint32_t const>{frames});
    note(given);
    mine.at("deflating units");
    const auto back = balloon_->deflate(std::span<std::uint32_t const>{frames});
    note(back);
    if (!given.adds_up() || !back.adds_up()) wrong("balloon of units", "a report does not add up");
    units_gone_ += given.units_discarded;
    units_back_ += back.units_populated;
    for (std::uint64_t which = 0; which < unit_count; ++which)
      if (!ballooned_.backing().population()->is_populated(which))
        wrong("balloon of units", "what was deflated is not there");
    use(mine, ballooned_.data() + first * unit);
    balloon_epoch_.fetch_add(1);
    use(mine, ballooned_.data() + first * unit);
    mine.did();
  }
  /// The guest's driver plugs a block, uses it, and unplugs it.
  void plug_units(work& mine, random_source& at) {
    const std::uint64_t which = below(at, unit_count);
    const auto ask = [&](detail::virtio_mem_type what) {
      std::array<std::byte, detail::virtio_mem_request::bytes> request{};
      std::array<std::byte, detail::virtio_mem_response_bytes> response{};
      const std::span<std::byte> all{request};
      detail::write_little_endian(all, static_cast<std::uint16_t>(what));
      detail::write_little_endian(all.subspan(8), hotplug_at + which * unit);
      detail::write_little_endian(all.subspan(16), std::uint16_t{1});
      for (;;) {
        const auto told = memory_device_->handle(request, response);
        if (told.response == virtio_mem_response::ack) return true;
        if (told.response != virtio_mem_response::busy || !told.why)
          wrong("virtio-mem", "it answers otherwise than ack or busy");
        if (all_->finished()) return false;
        std::this_thread::yield();
      }
    };
    std::byte* const first = hotplug_.data() + which * unit;
    mine.at("plugging");
    if (!ask(detail::virtio_mem_type::plug)) return;
    units_back_ += 1;
    if (load(first + word_of_vcpu) != 0) wrong("virtio-mem", "what is plugged is not empty");
    use(mine, first);
    hotplug_epoch_.fetch_add(1);  // everybody may use it now
    use(mine, first);
    hotplug_epoch_.fetch_add(1);
    mine.at("unplugging");
    while (!ask(detail::virtio_mem_type::unplug))
      if (all_->finished()) break;
    units_gone_ += 1;
    mine.did();
  }
  /// A virtual CPU uses a unit for a while.
  void use(work& mine, std::byte* first) {
    mine.at("using a unit");
    for (int round = 0; round < 20; ++round) {
      for (std::uint64_t i = 0; i < unit; i += page) {
        store(first + i + word_of_vcpu, i + 1);
        if (load(first + i + word_of_vcpu) != i + 1) wrong("a CPU", "reads what nobody wrote");
      }
      std::this_thread::yield();
    }
  }
  void note(discard_report const& given) {
    discarded_ += given.discarded;
    inhibited_ += given.inhibited;
    if (given.first_error) wrong("discard", std::string{given.first_error->sentence()});
  }

  /// One group or the other: attached, opened with and without consent, asked to go, detached.
  template <class Container>
  void come_and_go(work& mine, Container& into, random_source& at) {
    const bool mediated = below(at, 2) == 0;
    mine.at("attaching");
    auto group = into.attach(mediated ? other_vgpus : other_nics);
    if (!fine(group, "attach")) return;
    mine.did();
    if (mediated) {
      mine.at("opening with consent");
      auto vgpu = group->open("vgpu", agrees_to_discards);
      fine(vgpu, "open with consent");
      mine.at("opening without consent");
      const auto second = group->open("vgpu2");
      fine(second, "open without consent", {errc::mixed_group});
      if (vgpu && below(at, 2) == 0) fine(vgpu->close(), "close");
    } else {
      mine.at("opening a device that pins");
      if (const auto refused = group->open("nic", agrees_to_discards);
          refused || refused.error().code() != errc::consent_refused) {
        wrong("open", "a device that pins was believed to agree");
      }
      fine(group->open("nic"), "open");
    }
    mine.did();
    if (below(at, 2) == 0) {
      mine.at("requesting an unplug");
      fine(group->request_unplug(), "request unplug");
      const auto late = group->open("vgpu");
      if (late || late.error().code() != errc::unplug_requested)
        wrong("open", "although it is to go");
    }
    mine.at("detaching");
    fine(group->detach(), "detach");
    mine.did();
  }

  /// Three looks: at what pins, by itself; at what pins on demand and at what pins nothing, while
  /// discards are suspended.
  void audit(work& mine) {
    mine.at("attaching the audited group that pins");
    auto nics = pinning_->attach(audited_nics);
    if (!fine(nics, "attach the audited group")) return;
    std::this_thread::yield();  // a moment in which the group pins and has no device
    if (auto nic = nics->open("nic"); fine(nic, "open the audited device")) {
      mine.at("auditing what is pinned");
      for (int pass = 0; pass < 4 && !all_->finished(); ++pass) compare(mine, **nic);
    }
    mine.at("attaching the audited groups that pin nothing");
    auto vgpus = pinning_->attach(audited_vgpus);
    auto engines = software_->attach(audited_vgpus);
    if (fine(vgpus, "attach an audited mediated group") &&
        fine(engines, "attach an audited group of the software IOMMU")) {
      auto vgpu = vgpus->open("vgpu", agrees_to_discards);
      auto engine = engines->open("vgpu", agrees_to_discards);
      // Beside the mediated group only: then its requests pin for themselves.
      mine.at("detaching the audited group that pins");
      fine(nics->request_unplug(), "request unplug of the audited group");
      fine(nics->detach(), "detach the audited group");
      if (fine(vgpu, "open an audited mediated device") &&
          fine(engine, "open an audited device of the software IOMMU")) {
        mine.at("suspending discards");
        const auto quiet = gate_->suspend("audit");
        mine.at("auditing what is not pinned");
        compare(mine, **vgpu);
        compare(mine, **engine);
      }
      mine.at("detaching the audited groups that pin nothing");
      fine(vgpus->detach(), "detach an audited mediated group");
      fine(engines->detach(), "detach an audited group of the software IOMMU");
    } else {
      fine(nics->detach(), "detach the audited group");
    }
  }
  template <class Device>
  void compare(work& mine, Device& device) {
    // `changes` is even while all of it stays where it is; null: it always does
    const auto block = [&](ram_block& memory, std::uint64_t at, std::uint64_t pages,
                           std::atomic<std::uint64_t> const* changes) {
      std::uint64_t audited = 0;
      for (std::uint64_t i = 0; i < pages && !all_->finished(); ++i) {
        const std::uint64_t epoch = changes != nullptr ? changes->load() : 0;
        if (epoch % 2 != 0) return audited;
        std::byte* const here = memory.data() + i * page;
        std::uint64_t sent = ++unique_;
        const auto wrote =
            device.dma_write(io_address{at + i * page + word_from_device}, bytes_of(sent));
        if (!fine(wrote, "audit: DMA write", {errc::not_mapped})) continue;
        const std::uint64_t cpu = load(here + word_from_device);
        const std::uint64_t stored = ++unique_;
        store(here + word_from_cpu, stored);
        std::uint64_t seen = 0;
        const auto read =
            device.dma_read(io_address{at + i * page + word_from_cpu}, bytes_of(seen));
        if (!fine(read, "audit: DMA read", {errc::not_mapped})) continue;
        if (changes != nullptr && changes->load() != epoch) return audited;
        audits_ += 1;
        audited += 1;
        mine.did();
        if (cpu == sent && seen == stored) continue;
        disagreements_ += 1;
        if (until_first_) all_->finish();
      }
      return audited;
    };
    block(low_, 0, low_pages, nullptr);
    block(plugged_, plugged_at, plugged_pages, &epoch_);
    if constexpr (has_units) {
      units_audited_ +=
          block(ballooned_, ballooned_at, unit_count * (unit / page), &balloon_epoch_);
      units_audited_ += block(hotplug_, hotplug_at, unit_count * (unit / page), &hotplug_epoch_);
    }
  }

  bool until_first_;
  tether_test::lock_order order_;
  ram_block low_ = must(ram_block::allocate("low", low_pages* page));
  ram_block plugged_ = must(ram_block::allocate("plugged", plugged_pages* page));
  ram_block dimm_memory_ = must(ram_block::allocate("DIMM's memory", dimm_pages* page + 256 * KiB));
  ram_block ballooned_ = must(ram_block::allocate("ballooned", unit_count* unit));
  ram_block hotplug_ = must(ram_block::allocate("hotplug", unit_count* unit));
  std::uint64_t dimms_ = 0;
  std::optional<ram_block> dimm_;
  region_id dimm_region_{};
  std::atomic<std::uint64_t> dimm_life_{1};
  std::atomic<std::uint64_t> dimm_given_in_{0};
  address_space guest_;
  std::optional<tether_test::ordered_lock> map_place_;
  std::optional<discard_gate<Threading>> gate_;
  std::optional<balloon<Threading>> balloon_;
  std::optional<page_reporting<Threading>> reporting_;
  std::optional<pinning_container> pinning_;
  std::optional<software_container> software_;
  std::unique_ptr<virtio_mem<Threading>> memory_device_;

  crew* all_ = nullptr;
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<std::uint64_t> balloon_epoch_{0};
  std::atomic<std::uint64_t> hotplug_epoch_{1};  // odd: nothing is plugged
  std::mutex handing_over_;  // the handle itself; taken with no other
  std::optional<opened_device<software_container>> leased_;
  std::atomic<std::uint64_t> leases_{0};
  std::atomic<std::uint64_t> under_a_lease_{0};
  std::atomic<std::uint64_t> units_gone_{0};
  std::atomic<std::uint64_t> units_back_{0};
  std::uint64_t units_audited_ = 0;
  std::uint64_t unique_ = 0;
  std::uint64_t audits_ = 0;
  std::uint64_t disagreements_ = 0;
  std::atomic<std::uint64_t> unexpected_{0};
  std::string first_unexpected_;
  std::atomic<std::uint64_t> discarded_{0};
  std::atomic<std::uint64_t> inhibited_{0};
};

/// A ring, or why there is none here.
std::optional<io_uring_buffers> ring() {
  auto opened = io_uring_buffers::open({.slots = 64});
  if (opened) return std::move(*opened);
  tether_test::skip_because(opened.error().sentence());
  return std::nullopt;
}

template <class Threading, class Inhibition, class Granularity = whole_section>
what_came_of_it run_right(io_uring_buffers backend, goals share) {
  whole<Threading, io_uring_buffers, Inhibition, Granularity> everything{std::move(backend)};
  const auto came = everything.run(share);
  CHECK_MESSAGE(came.unexpected == 0, came.first_unexpected);
  CHECK(came.disagreements == 0);
  CHECK(came.audits != 0);
  CHECK(came.discarded != 0);
  CHECK(came.inhibited != 0);
  CHECK(came.under_a_lease != 0);
  everything.check_nothing_is_left();
  return came;
}

template <class Pinning, class Inhibition>
what_came_of_it run_wrong(Pinning backend) {
  whole<multi_threaded, Pinning, Inhibition> everything{std::move(backend), true};
  const auto came = everything.run({50});  // or until the first disagreement
  CHECK_MESSAGE(came.unexpected == 0, came.first_unexpected);
  return came;
}

}  // namespace

TEST_CASE("whatever many threads do to one guest, every device and the CPU see the same memory") {
  auto backend = ring();
  if (!backend) return;
  const auto came = run_right<multi_threaded, inhibit_per_group>(std::move(*backend), {1});
  std::printf("%s", came.table.c_str());
  std::printf(
      "figures: the whole under threads: %llu operations, %llu audits, %llu disagreements, %llu "
      "frames discarded, %llu inhibited\n",
      static_cast<unsigned long long>(came.operations),
      static_cast<unsigned long long>(came.audits),
      static_cast<unsigned long long>(came.disagreements),
      static_cast<unsigned long long>(came.discarded),
      static_cast<unsigned long long>(came.inhibited));
}

TEST_CASE(
    "the same where devices map in blocks, and units come and go under them: by a coordinated "
    "balloon and by virtio-mem") {
  auto backend = ring();
  if (!backend) return;
  const auto came =
      run_right<multi_threaded, inhibit_per_group, fixed_block<unit>>(std::move(*backend), {0.5});
  CHECK(came.units_gone != 0);
  CHECK(came.units_back != 0);
  CHECK(came.units_audited != 0);
  std::printf(
      "figures: units in the whole under threads: %llu operations, %llu audits, %llu of them of "
      "units, %llu disagreements, units gone %llu times, back %llu times\n",
      static_cast<unsigned long long>(came.operations),
      static_cast<unsigned long long>(came.audits),
      static_cast<unsigned long long>(came.units_audited),
      static_cast<unsigned long long>(came.disagreements),
      static_cast<unsigned long long>(came.units_gone),
      static_cast<unsigned long long>(came.units_back));
}

TEST_CASE(
    "the same with locks that know their order: none: none is taken against the one that is "
    "written "
    "down, and no circle closes") {
  auto backend = ring();
  if (!backend) return;
  const auto came =
      run_right<tether_test::ordered_threading, inhibit_per_container>(std::move(*backend), {0.2});
  for (auto const& one : came.order_violations) CHECK_MESSAGE(false, one);
  CHECK(came.order_pairs >= 4);
  std::printf(
      "figures: lock order under threads: %llu operations, %llu pairs of locks, %llu against the "
      "order\n",
      static_cast<unsigned long long>(came.operations),
      static_cast<unsigned long long>(came.order_pairs),
      static_cast<unsigned long long>(came.order_violations.size()));
}

TEST_CASE("the auditor sees what no hold prevents: a backend that says it pins nothing, and does") {
  auto backend = ring();
  if (!backend) return;
  CHECK(run_wrong<says_it_pins_nothing, no_inhibition>(says_it_pins_nothing{std::move(*backend)})
            .disagreements != 0);
}

TEST_CASE(
    "the auditor sees a wrong policy: no hold before a device is open, although the group pins "
    "already") {
  auto backend = ring();
  if (!backend) return;
  CHECK(run_wrong<io_uring_buffers, seeds::forgets_what_has_no_device>(std::move(*backend))
            .disagreements != 0);
}

TEST_CASE(
    "memory that is unplugged while a container attaches is neither discarded nor freed before the "
    "attach has let go of it") {
  auto backend = ring();
  if (!backend) return;
  ram_block low = must(ram_block::allocate("low", 4 * page));
  ram_block plugged = must(ram_block::allocate("plugged", 4 * page));
  ram_block high = must(ram_block::allocate("high", 4 * page));
  address_space guest;
  discard_gate<> gate;
  static_cast<void>(must(guest.place(region::ram(low), guest_address{0})));
  const auto gone = must(guest.place(region::ram(plugged), guest_address{1 * MiB}));
  static_cast<void>(must(guest.place(region::ram(high), guest_address{2 * MiB})));
  container<io_uring_buffers> dma{guest, gate, std::move(*backend)};
  bool inhibited = false;
  bool refused = false;
  monitored watching{std::stop_token{}, [&](mapping const& piece) {
                       if (piece.where.first.value != 2 * MiB) return;
                       // Pinned already, and told without the map's lock: the unplug does not wait,
                       // and is not told to this container.
                       std::thread{[&] {
                         must(guest.remove(gone));
                         inhibited = !tether_test::may_discard(gate, discard_kind::uncoordinated) &&
                                     !tether_test::may_discard(gate, discard_kind::coordinated);
                         refused = !plugged.free();
                       }}.join();
                     }};
  auto group = must(dma.attach(other_nics, watching));
  CHECK(inhibited);
  CHECK(refused);
  CHECK(dma.usage().bytes == 8 * page);
  must(plugged.free());
  must(group.detach());
}

// Locks, on purpose in the wrong order: by one thread alone, which waits for nobody. A run that
// only watched for deadlocks would pass.

namespace {

/// An observer that asks the gate something, under its container's lock. Its documentation forbids
/// it.
struct asks_the_gate {
  using slot = observation_slot;
  discard_gate<tether_test::ordered_threading>* gate = nullptr;
  void mapped(mapping const&) noexcept {
    if (gate != nullptr) static_cast<void>(gate->counts());
  }
};

bool says(std::vector<std::string> const& sentences, std::string_view wanted) {
  return std::ranges::any_of(
      sentences, [&](std::string const& one) { return one.find(wanted) != std::string::npos; });
}

}  // namespace

TEST_CASE("a thread that asks the gate under a container's lock is reported") {
  using tether_test::lock_rank;
  using tether_test::naming;
  tether_test::lock_order order;
  ram_block ram = must(ram_block::allocate("ram", 4 * page));
  address_space guest;
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  std::optional<discard_gate<tether_test::ordered_threading>> gate;
  std::optional<container<software_iommu, tether_test::ordered_threading, asks_the_gate>> dma;
  {
    const naming names{order, "gate", {lock_rank::gate, lock_rank::gate}};
    gate.emplace();
  }
  {
    const naming names{
        order, "container", {lock_rank::operation, lock_rank::container, lock_rank::records}};
    dma.emplace(guest, *gate);
  }
  must(must(dma->attach(reader_groups[0])).detach());
  CHECK(order.violations().empty());
  dma->observer().gate = &*gate;
  must(must(dma->attach(reader_groups[0])).detach());
  CHECK(says(order.violations(),
             "'gate: gate' is asked for by a thread that has 'container: container', which comes "
             "after it"));
  CHECK(order.broken());
}

TEST_CASE(
    "a thread that waits for discards inside a transaction, or while it discards into a "
    "transaction, is reported") {
  using tether_test::lock_rank;
  using tether_test::naming;
  tether_test::lock_order order;
  std::optional<discard_gate<tether_test::ordered_threading>> gate;
  std::optional<tether_test::ordered_lock> map;
  {
    const naming names{order, "gate", {lock_rank::gate, lock_rank::gate}};
    gate.emplace();
  }
  {
    const naming names{order, "map", {lock_rank::topology}};
    map.emplace();
  }
  {
    const auto permit = gate->permit(discard_kind::uncoordinated);
    const tether_test::in_place_of turn{*map};  // as it is written: the gate, then the map
  }
  CHECK(order.violations().empty());
  {
    const tether_test::in_place_of turn{*map};
    static_cast<void>(must(gate->hold(hold_kind::any, "wrong")));
  }
  CHECK(
      says(order.violations(),
           "'gate: gate' is asked for by a thread that has 'map: topology', which comes after it"));
}

TEST_CASE(
    "two locks of one rank that are taken in both orders are reported as a circle, whether or not "
    "anybody waited") {
  tether_test::lock_order order;
  // no mutexes: the thread sanitizer would find the circle first
  std::array<std::optional<tether_test::ordered_lock>, 3> locks{};
  for (std::size_t i = 0; i < locks.size(); ++i) {
    const tether_test::naming names{
        order, "container " + std::to_string(i), {tether_test::lock_rank::operation}};
    locks[i].emplace();
  }
  const auto both = [&](std::size_t first, std::size_t second) {
    const tether_test::in_place_of outer{*locks[first]};
    const tether_test::in_place_of inner{*locks[second]};
  };
  both(0, 1);
  std::thread{[&] { both(1, 2); }}.join();
  CHECK(order.violations().empty());
  std::thread{[&] { both(2, 0); }}.join();
  CHECK(order.violations() ==
        std::vector<std::string>{"a circle: 'container 2: operation', then 'container 0: "
                                 "operation', then 'container 1: operation', then "
                                 "'container 2: operation'"});
}

TEST_CASE("a thread that gets nowhere stops the program, which says what each was doing") {
#if defined(TETHER_TEST_UNDER_TSAN) || defined(__SANITIZE_THREAD__)
  return tether_test::skip_because("the thread sanitizer starts no threads in a child process");
#endif
  const auto said = tether_test::stopped_by([] {
    crew all{std::chrono::milliseconds{300}};
    std::atomic<bool> never{false};
    all.hire("runner", 1, [](work& mine) {
      mine.at("running");
      mine.did();
    });
    all.hire("sleeper", 1, [&](work& mine) {
      mine.at("waiting for what never comes");
      never.wait(false);
    });
    all.watch();
  });
  CHECK(said.find("no progress: sleeper\n") != std::string::npos);
  CHECK(said.find("sleeper: 0 of 1, at: waiting for what never comes") != std::string::npos);
}

}  // namespace exhaustive_the_whole_under_threads
