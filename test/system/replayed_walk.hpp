// SPDX-License-Identifier: BSL-1.0
// Performs a random walk of the proof's world for real: the same operations on a container over a
// real kernel, with the same failures, and the balloon and the guest in the same places between the
// calls. After each event the two are compared:
//
//     the gate's holds      = the world's, always
//     who has pinned what   = the world's, exactly, wherever an IOMMU decides it: pages and the very frames
//                           <= the world's where only a mediated device could pin: its driver may pin what requests name, and this one
//                             never does. So: never pinned where the world says that none can.
//     at rest               = counts, mappings and divergence; now and then the bytes of a transfer
#pragma once

#include <system/in_machine.hpp>
#include <system/random_walk.hpp>

#include <cerrno>
#include <functional>
#include <linux/kvm.h>
#include <memory>
#include <sys/ioctl.h>

namespace in_machine {

/// A group that the machine has.
struct real_group {
  std::vector<std::string> devices;
  bool mediated = false;
};

/// What was done, over all walks.
struct walk_figures {
  std::uint64_t walks = 0;
  std::uint64_t operations = 0;
  std::uint64_t events = 0;
  std::uint64_t exact = 0;      ///< comparisons of pins that had to be equal
  std::uint64_t one_sided = 0;  ///< where a mediated device could have pinned
  std::uint64_t frames = 0;
  std::uint64_t stale = 0;  ///< comparisons in which device and CPU had to disagree
  std::uint64_t transfers = 0;
  std::uint64_t left_out = 0;
  proof::coverage reached{};
  proof::coverage demanded{};
};

/// KVM's VFIO device, watched as `recording` watches a backend.
class watched_kvm {
 public:
  using slot = kvm_slot;
  static constexpr bool tells = true;
  struct watcher {
    std::function<bool(std::string_view)> before;  ///< true: this call is refused
    std::function<void(std::string_view)> after;
  };

  explicit watched_kvm(watcher const& who) : who_{&who} {
    const int kvm = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
    const int machine = ::ioctl(kvm, KVM_CREATE_VM, 0);
    kvm_.emplace(must(kvm_device::create(machine)));
    ::close(machine);  // KVM's VFIO device keeps a reference to it
    ::close(kvm);
  }
  [[nodiscard]] result<void> add(int file, std::string_view name) noexcept {
    return ask("tell KVM", [&] { return kvm_->add(file, name); });
  }
  [[nodiscard]] result<void> remove(int file, std::string_view name) noexcept {
    return ask("let KVM forget", [&] { return kvm_->remove(file, name); });
  }

 private:
  template <class Run>
  result<void> ask(const char* what, Run run) noexcept {
    const bool refused = who_->before && who_->before(what);
    result<void> answer = refused ? result<void>{failure(error::from_errno(what, EIO))} : run();
    if (who_->after) who_->after(what);
    return answer;
  }
  watcher const* who_;
  std::optional<kvm_device> kvm_;
};

/// A guest, a container and everything that a walk needs. `Interface`: `backend_type`, `make()`,
/// and `describe(device)` for `attach`.
template <class Interface, class Inhibition, class Kvm = no_kvm>
class replayed_walk {
  using backend_type = typename Interface::backend_type;
  using container_type = container<recording<backend_type>, Inhibition, Kvm>;
  using permit = std::unique_ptr<discard_gate<>::permit_guard>;
  static constexpr bool of_groups = backend_type::unit == attach_unit::group;

 public:
  using abstraction = proof::abstraction_of<container_type>;

  replayed_walk(std::vector<real_group> const& machine, memory_kind kind, std::uint64_t seed,
                walk_figures& counted)
      : machine_{machine},
        ram_{must(ram_block::allocate("ram", pages * page, kind))},
        counted_{counted},
        extra_{seed} {
    static_cast<void>(must(guest_.place(region::ram(ram_), guest_address{0})));
    static_cast<void>(must(guest_.place(region::ram(mailbox_), guest_address{mailbox_at})));
    book_.before_each(
        [this](journal_entry const& entry) { static_cast<void>(before(name_of(entry.what))); });
    book_.after_each([this](journal_entry const& entry) { after(name_of(entry.what)); });
    watcher_ = {[this](std::string_view what) { return before(what); },
                [this](std::string_view what) { after(what); }};
    if constexpr (Kvm::tells)
      dma_.emplace(guest_, gate_, recording<backend_type>{book_, Interface::make()}, Kvm{watcher_});
    else dma_.emplace(guest_, gate_, recording<backend_type>{book_, Interface::make()});
  }
  /// Destroys the container in whatever state it is; nothing may be left of it.
  ~replayed_walk() {
    permit_.reset();
    book_.before_each({});
    book_.after_each({});
    watcher_ = {};
    dma_.reset();
    CHECK(gate_.counts() == gate_counts{});
    CHECK(pinned_now() == 0);
  }

  /// Whether the machine can have what a caller asks for.
  [[nodiscard]] bool feasible(proof::event const& asked) const {
    place const& there = places_[asked.group];
    const bool opens = asked.begins == change::open || asked.begins == change::attach_device;
    // A mediated device that does not agree could pin, and this one never does: without holds the
    // world would have a stale page that the machine does not have.
    if (opens && asked.mediated && asked.agrees == consent::none && !holds) return false;
    if (opens && there.group != nullptr) return !free_devices(there).empty();
    if (asked.begins == change::attach || asked.begins == change::attach_device)
      return !free_groups(asked.mediated).empty();
    return true;
  }

  /// Performs it. Requires: it begins where the last one ended.
  void operate(walked_operation const& operation) {
    operation_ = &operation;
    at_ = 0;
    calls_ = 0;
    if (operation.of_container()) {
      ++counted_.operations;
      inject(operation);
      prepare();
      const result<void> answer =
          perform(operation.begins(), operation.ended() == ending::finished);
      go_past_silent();
      INFO(operation.description());
      CHECK(at_ == operation.events.size());
      CHECK(book_.faults_left() == 0);
      CHECK(answer.has_value() == (operation.ended() == ending::finished));
      if (!answer)
        CHECK(answer.error().rollback_failed() == (operation.ended() == ending::diverged));
    } else {
      go_past_silent();
    }
    compare_at_rest(operation.leads_to());
  }
  /// After a container has diverged: it releases everything, and the next walk begins with it.
  void abandon() {
    operation_ = nullptr;
    permit_.reset();
    must(dma_->abandon());
    CHECK(!dma_->diverged());
    CHECK(dma_->membership() == container_counts{});
    CHECK(gate_.counts() == gate_counts{});
    CHECK(pinned_now() == 0);
    places_ = {};
    pinned_before_.clear();
    touch();
  }

 private:
  static constexpr std::uint64_t pages = 4;
  static constexpr bool holds =
      holds_needed<Inhibition>(group_counts{.declined = 1, .attached = true}) != 0 ||
      holds_needed<Inhibition>(container_counts{1, 0}) != 0;

  struct open_device {
    std::string name;
    consent agrees;
    typename container_type::opened handle;
  };
  struct place {
    real_group const* group = nullptr;
    std::optional<typename container_type::attached> handle{};
    std::vector<open_device> devices{};
  };

  [[nodiscard]] std::vector<real_group const*> free_groups(bool mediated) const {
    std::vector<real_group const*> found;
    for (real_group const& one : machine_) {
      const bool taken =
          std::ranges::any_of(places_, [&](place const& other) { return other.group == &one; });
      if (one.mediated == mediated && !taken) found.push_back(&one);
    }
    return found;
  }
  [[nodiscard]] std::vector<std::string> free_devices(place const& there) const {
    std::vector<std::string> found;
    for (auto const& name : there.group->devices) {
      if (std::ranges::find(there.devices, name, &open_device::name) == there.devices.end())
        found.push_back(name);
    }
    return found;
  }
  template <class All>
  [[nodiscard]] auto one_of(All const& all) {
    REQUIRE(!all.empty());
    return all[extra_.roll(all.size())];
  }

  // Performs the caller's request for real. `stays`: whether it succeeds in the walk.
  result<void> perform(proof::event const& asked, bool stays) {
    place& there = places_[asked.group];
    const auto device = std::ranges::find(there.devices, asked.agrees, &open_device::agrees);
    result<void> answer;
    if (asked.begins == change::close || asked.begins == change::detach_device) {
      REQUIRE(device != there.devices.end());
      if constexpr (of_groups) answer = device->handle.close();
      else answer = device->handle.detach();
      if (stays) there.devices.erase(device);
      if (!of_groups && there.devices.empty()) there = {};
      return answer;
    }
    if constexpr (of_groups) {
      if (asked.begins == change::attach) {
        real_group const* const group = one_of(free_groups(asked.mediated));
        auto attached = dma_->attach(Interface::describe(group->devices.front()));
        if (!attached) return failure(attached.error());
        there = {group, *attached, {}};
      } else if (asked.begins == change::open) {
        const auto name = one_of(free_devices(there));
        auto opened = there.handle->open(name, asked.agrees);
        if (!opened) return failure(opened.error());
        there.devices.push_back({name, asked.agrees, *opened});
      } else {
        answer = there.handle->detach();
        if (answer) there = {};
      }
    } else {
      real_group const* const group =
          there.group != nullptr ? there.group : one_of(free_groups(asked.mediated));
      const auto name = one_of(there.group != nullptr ? free_devices(there) : group->devices);
      auto attached = dma_->attach(Interface::describe(name), asked.agrees);
      if (!attached) return failure(attached.error());
      there.group = group;
      there.devices.push_back({name, asked.agrees, *attached});
    }
    return answer;
  }

  /// Arms the failures of an operation in the backend's recording. KVM's are decided when its calls
  /// come.
  void inject(walked_operation const& operation) {
    book_.clear();
    std::array<std::uint64_t, 16> asked{};
    for (auto const& one : operation.events) {
      for (auto const& call : one.calls) {
        if (!call.kind) continue;
        const auto nth = ++asked[static_cast<std::size_t>(*call.kind)];
        if (call.refused)
          book_.fail_at(*call.kind, nth, error::from_errno(name_of(*call.kind), EIO));
      }
    }
  }

  // Between the calls. Called from functions that may not throw: they use CHECK, never REQUIRE.

  /// Answers whether the call is to be refused.
  bool before(std::string_view call) {
    if (operation_ == nullptr) return false;
    go_past_silent();
    const bool expected =
        at_ < operation_->events.size() && operation_->events[at_].calls[calls_].name == call;
    CHECK_MESSAGE(expected, call << " in " << operation_->description());
    return expected && operation_->events[at_].calls[calls_].refused;
  }
  void after(std::string_view) {
    if (operation_ == nullptr || at_ >= operation_->events.size()) return;
    if (++calls_ < operation_->events[at_].calls.size()) return;
    calls_ = 0;
    arrive();
    while (at_ < operation_->events.size() && !operation_->events[at_].of_container()) arrive();
  }
  /// Events without a call to the backend have happened by the next call, and by the operation's
  /// end.
  void go_past_silent() {
    while (at_ < operation_->events.size() && operation_->events[at_].calls.empty()) arrive();
  }
  /// An event has happened, or is made to happen here.
  void arrive() {
    walked_event const& now = operation_->events[at_];
    ++counted_.events;
    obstacle_.reset();
    switch (now.successor.by.who) {
      case proof::actor::permit:
        permit_.reset(new discard_gate<>::permit_guard(gate_.permit(discard_kind::uncoordinated)));
        CHECK(static_cast<bool>(*permit_));
        break;
      case proof::actor::discard:
        CHECK(balloon_.inflate(frame_numbers(0, pages)).discarded == pages);
        permit_.reset();
        break;
      case proof::actor::guest: touch(); break;
      default: break;
    }
    compare(now);
    ++at_;
    if (!now.successor.here.absent && extra_.roll(4) == 0) touch();  // no change in the world
    prepare();
  }
  /// Makes a hold be refused: this thread takes a permit of an unrelated gate. While the balloon
  /// has a permit it is refused anyway.
  void prepare() {
    if (at_ >= operation_->events.size() || permit_ != nullptr) return;
    auto const& next = operation_->events[at_].successor.by;
    if (next.what != act::raise_holds || next.how != outcome::failed) return;
    obstacle_.reset(
        new discard_gate<>::permit_guard(nobodys_gate_.permit(discard_kind::uncoordinated)));
  }

  /// The guest writes to every page.
  void touch() {
    ++turn_;
    for (std::uint64_t at = 0; at < ram_.size(); at += page)
      std::ranges::copy(pattern(at / page, turn_, 64), ram_.data() + at);
  }

  void compare(walked_event const& now) {
    walk_world const& here = now.successor.here;
    auto const& container = here.containers[0];
    INFO(operation_->description() << "- event " << at_);
    const auto counts = gate_.counts();
    CHECK(counts.any_holds + counts.uncoordinated_holds == here.holds());
    if (!proof::gate_open<abstraction>(here))
      CHECK(balloon_.inflate(frame_numbers(0, pages)).inhibited == pages);

    const bool pins = container.page == proof::page_relation::pinned_same ||
                      container.page == proof::page_relation::pinned_other;
    bool by_an_iommu = false;
    for (std::size_t at = 0; at < walk_scope::groups; ++at) {
      by_an_iommu = by_an_iommu || (!container.groups[at].mediated &&
                                    proof::can_pin<abstraction::unit>(container, at));
    }
    const std::uint64_t all =
        container.replay_will_fail ? ram_.size() : ram_.size() + mailbox_.size();
    const std::uint64_t found = pinned_now();
    if (pins && !by_an_iommu && proof::can_pin<abstraction>(container)) {
      ++counted_.one_sided;
      CHECK((found == 0 || found == all));
      pinned_before_.clear();
      return;
    }
    ++counted_.exact;
    CHECK(found == (pins ? all : 0));
    if (pins) compare_frames(here);
    else pinned_before_.clear();
  }
  /// Compares the frames that were pinned with those that the CPU has now.
  void compare_frames(walk_world const& here) {
    const auto frames = frames_behind(ram_);
    counted_.frames += frames.size();
    if (pinned_before_.empty()) {
      pinned_before_ = frames;
      CHECK(std::ranges::count(frames, std::uint64_t{0}) == 0);  // pinning brings every page in
    } else if (here.absent) {
      CHECK(std::ranges::count(frames, std::uint64_t{0}) ==
            static_cast<std::ptrdiff_t>(frames.size()));
    } else if (here.containers[0].page == proof::page_relation::pinned_same) {
      CHECK(frames == pinned_before_);
    } else {
      ++counted_.stale;
      // may have been discarded once more
      for (std::size_t i = 0; i < frames.size(); ++i) CHECK(frames[i] != pinned_before_[i]);
    }
  }

  void compare_at_rest(walk_world const& here) {
    auto const& container = here.containers[0];
    CHECK(dma_->diverged() == container.diverged);
    CHECK(dma_->membership() == container.counts());
    if (container.diverged) return;
    CHECK((dma_->usage().mappings != 0) == (container.page != proof::page_relation::none));
    const bool same = container.page == proof::page_relation::pinned_same;
    if (here.absent || (!same && container.page != proof::page_relation::pinned_other)) return;
    if (extra_.roll(same ? 10 : 4) == 0) transfer(same);
  }
  /// A device of an IOMMU-backed group, if one is open, writes; the CPU reads the bytes exactly if
  /// both have the same page.
  void transfer(bool same) {
    for (place& there : places_) {
      if (there.group == nullptr || there.group->mediated || there.devices.empty()) continue;
      auto dma = must(edu::engine<vfio_device>::start(*there.devices.front().handle,
                                                      mailbox_.data(), io_address{mailbox_at}));
      const std::uint64_t at = extra_.roll(pages) * page;
      const auto sent = pattern(at, ++turn_ + 100, 64);
      must(dma.dma_write(io_address{at}, sent));
      CHECK(std::ranges::equal(sent, std::span{ram_.data() + at, sent.size()}) == same);
      ++counted_.transfers;
      return;
    }
  }

  std::vector<real_group> const& machine_;
  ram_block ram_;
  ram_block mailbox_ = must(ram_block::allocate("mailbox", page, memory_kind::shared));
  address_space guest_;
  discard_gate<> nobodys_gate_;
  discard_gate<> gate_;
  tether::balloon<> balloon_{guest_, gate_};
  permit permit_;
  permit obstacle_;
  journal book_;
  watched_kvm::watcher watcher_;
  std::optional<container_type> dma_;
  std::array<place, walk_scope::groups> places_{};

  walk_figures& counted_;
  dice extra_;  // for choices that make no difference to the world
  unsigned turn_ = 0;
  walked_operation const* operation_ = nullptr;
  std::size_t at_ = 0;     // the next event
  std::size_t calls_ = 0;  // calls of it so far
  std::vector<std::uint64_t> pinned_before_;
};

}  // namespace in_machine
