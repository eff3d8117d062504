// SPDX-License-Identifier: BSL-1.0
// What a program is told when it runs and does what one of the numbers tether[..] is about: for each
// number the smallest program that causes it, and the same one cured. examples/messages/ has a page
// for each, into which test/package/reference/programs.py writes the program from here.
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/inhibit/detail/ledger.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/testing.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/bar_machines.hpp>
#include <support/must.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace scenario_numbered_messages {

using namespace tether;
using tether_test::must;

namespace {

// What several of them use, and their pages show with them.
//! [nics]
const endpoint_group nics{"nics", {{"eth0", pin_class::pins}}};
//! [nics]
//! [soft]
using soft = container<software_iommu>;
//! [soft]
//! [tell]
/// An error is told as a program would tell it.
template <class T>
void tell(result<T> const& answer) {
  if (!answer) std::fputs(answer.error().sentence().c_str(), stderr);
}
//! [tell]
//! [pins_by_its_word]
struct pins_by_its_word : software_iommu {
  static constexpr bool pins = true;
  using software_iommu::software_iommu;
};
//! [pins_by_its_word]

//! [I3]
void a_gate_goes_before_a_hold(bool cured) {
  auto gate = std::make_unique<discard_gate<>>();
  {
    const auto hold = gate->hold(hold_kind::any, "migration");
    if (!cured) gate.reset();
  }
  gate.reset();
}
//! [I3]

//! [I4]
void a_thread_suspends_what_it_does(bool cured) {
  discard_gate<> gate;
  {
    const auto permit = gate.permit(discard_kind::uncoordinated);
    if (!cured) const auto paused = gate.suspend("snapshot");
  }
  if (cured) const auto paused = gate.suspend("snapshot");
}
//! [I4]

//! [I5]
void one_entry_for_two_kinds(bool cured) {
  detail::ledger book;
  detail::hold_entry one{"one"};
  detail::hold_entry another{"another"};
  book.add(one, entry_kind::any_hold, 1);
  book.add(cured ? another : one, entry_kind::suspension, 1);
  book.subtract(another, 1);
  book.subtract(one, 1);
}
//! [I5]

//! [I6]
void a_hold_is_given_back_twice(bool cured) {
  detail::ledger book;
  detail::hold_entry one{"one"};
  book.add(one, entry_kind::any_hold, 1);
  book.subtract(one, 1);
  if (!cured) book.subtract(one, 1);
}
//! [I6]

//! [I7]
void two_gates_for_one_guest(bool cured) {
  address_space guest;
  discard_gate<> gate;
  discard_gate<> another;
  const soft dma{guest, gate};
  soft second{guest, cured ? gate : another};
  tell(second.attach(nics));
}
//! [I7]

//! [I14]
void an_entry_goes_while_it_counts(bool cured) {
  detail::ledger book;
  detail::hold_entry one{"one"};
  book.add(one, entry_kind::any_hold, 1);
  if (cured) book.subtract(one, 1);
}
//! [I14]

//! [I15]
template <bool Cured>
struct needs_more_with_nineteen {  // more than is tried inside the compiler
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    if (!group.attached || group.needs_no_hold()) return 0;
    return group.declined == 19 && !Cured ? 3 : 1;
  }
};
template <bool Cured>
void a_policy_needs_more_after_a_close() {
  address_space guest;
  discard_gate<> gate;
  container<pins_by_its_word, needs_more_with_nineteen<Cured>> dma{guest, gate};
  std::vector<endpoint> many;
  for (int i = 0; i < 20; ++i) many.push_back({"nic" + std::to_string(i), pin_class::pins});
  auto group = must(dma.attach(endpoint_group{"many", many}));
  for (endpoint const& one : many) {
    auto device = must(group.open(one.name));
    if (one.name == "nic19") must(device.close());
  }
}
//! [I15]

//! [I16]
template <bool Cured>
struct two_faced {  // right while the compiler looks
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    if (!Cured && !std::is_constant_evaluated()) return 0;
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
};
template <bool Cured>
void a_policy_answers_otherwise_when_it_runs() {
  address_space guest;
  discard_gate<> gate;
  const container<pins_by_its_word, two_faced<Cured>> dma{guest, gate};
}
//! [I16]

//! [I17]
void more_than_a_gate_counts(bool cured) {
  detail::ledger book;
  detail::hold_entry one{"one"};
  const auto most = std::numeric_limits<std::uint32_t>::max();
  book.add(one, entry_kind::suspension, most);
  if (!cured) book.add(one, entry_kind::suspension, 1);
  book.subtract(one, most);
}
//! [I17]

//! [I18]
void a_permit_ends_on_another_thread(bool cured) {
  discard_gate<> gate;
  using permit_type = decltype(gate.permit(discard_kind::uncoordinated));
  permit_type const* carried = nullptr;
  std::thread{[&] {
    carried = new permit_type(gate.permit(discard_kind::uncoordinated));
    if (cured) delete std::exchange(carried, nullptr);
  }}.join();
  delete carried;
}
//! [I18]

//! [I19]
void a_visitor_changes_what_it_is_shown(bool cured) {
  discard_gate<> gate;
  std::optional held{must(gate.hold(hold_kind::any, "nic"))};
  bool seen = false;
  gate.for_each_holder([&](holder_info const&) {
    seen = true;
    if (!cured) held.reset();
  });
  if (seen) held.reset();
}
//! [I19]

//! [B9]
void one_backend_for_two_containers(bool cured) {
  address_space guest;
  discard_gate<> gate;
  software_iommu iommu;
  const soft one{guest, gate, std::move(iommu)};
  if (cured) iommu = software_iommu{};
  const soft another{guest, gate, std::move(iommu)};
}
//! [B9]

//! [D1]
void a_container_goes_under_a_lease(bool cured) {
  address_space guest;
  discard_gate<> gate;
  std::optional<soft> dma{std::in_place, guest, gate};
  auto group = must(dma->attach(nics));
  auto nic = must(group.open("eth0"));
  {
    const auto lease = must(nic.lease());
    if (!cured) dma.reset();
  }
  dma.reset();
}
//! [D1]

//! [D2]
void a_container_goes_that_the_kernel_keeps(bool cured) {
  address_space guest;
  discard_gate<> gate;
  journal calls;
  {
    container<recording<software_iommu>> dma{guest, gate, {calls, software_iommu{}}};
    auto group = must(dma.attach(nics));
    const error busy = error::from_errno("leave", EBUSY).with_failed_rollback();
    calls.fail_at(backend_call::leave, 1, busy);  // a device that does not let go
    if (group.detach()) return;
    if (cured) must(dma.abandon());  // heeds the error
    else calls.fail_at(backend_call::abandon, 1, error::from_errno("abandon", EBUSY));
  }
}
//! [D2]

//! [D3]
void a_device_is_used_after_its_close(bool cured) {
  address_space guest;
  discard_gate<> gate;
  soft dma{guest, gate};
  auto group = must(dma.attach(nics));
  auto nic = must(group.open("eth0"));
  if (cured) static_cast<void>(nic->name());
  must(nic.close());
  if (!cured) static_cast<void>(nic->name());
}
//! [D3]

//! [M1]
struct meddler {
  address_space* guest;
  bool cured;
  void begin(commit_kind) noexcept {}
  void remove(section const&) noexcept {}
  void add(section const&) noexcept {}
  result<void> commit() noexcept {
    if (!cured) return guest->remove({});
    return {};
  }
};
void a_listener_changes_its_caller(bool cured) {
  address_space guest;
  meddler who{&guest, cured};
  must(guest.add_listener(who));
  static_cast<void>(guest.place(region::mmio("uart", 16), guest_address{0}));
  must(guest.remove_listener(who));
}
//! [M1]

//! [M2]
void an_outer_transaction_ends_first(bool cured) {
  struct holder {
    explicit holder(address_space& of) : held{of.begin()} {}
    transaction held;
  };
  address_space guest;
  auto outer = std::make_unique<holder>(guest);
  auto inner = std::make_unique<holder>(guest);
  if (cured) inner.reset();
  outer.reset();
}
//! [M2]

//! [M3]
void a_space_goes_before_its_container(bool cured) {
  auto guest = std::make_unique<address_space>();
  discard_gate<> gate;
  std::optional<soft> dma{std::in_place, *guest, gate};
  static_cast<void>(must(dma->attach(nics)));
  if (cured) dma.reset();
  guest.reset();
}
//! [M3]

//! [M4]
void a_commit_without_a_begin(bool cured) {
  software_iommu iommu;
  std::mutex mutex;
  dma_listener<software_iommu, whole_section, trim_edges, no_observation, std::mutex> fed{iommu,
                                                                                          mutex};
  if (cured) fed.begin(commit_kind::refusable);
  tell(fed.commit());
}
//! [M4]

//! [O1]
void what_pins_agrees_to_discards(bool cured) {
  address_space guest;
  discard_gate<> gate;
  soft dma{guest, gate};
  auto group = must(dma.attach(nics));
  tell(group.open("eth0", cured ? consent::none : consent::given));
}
//! [O1]

//! [R1]
void a_block_goes_while_it_is_placed(bool cured) {
  address_space guest;
  auto ram = must(ram_block::allocate("ram", 64 * KiB));
  const auto id = must(guest.place(region::ram(ram), guest_address{0}));
  if (cured) must(guest.remove(id));
}
//! [R1]

//! [R2]
void memory_is_released_twice(bool cured) {
  const auto ram = must(ram_block::allocate("ram", 64 * KiB));
  ram.backing().retain();
  ram.backing().release();
  if (!cured) ram.backing().release();
}
//! [R2]

//! [R3]
void a_block_goes_before_a_view_of_a_bar(bool cured) {
  tether_test::on_type1 machine;
  std::optional ram{must(ram_block::allocate("ram", 64 * KiB))};
  std::optional<address_space> guest{std::in_place};
  discard_gate<> gate;
  static_cast<void>(must(guest->place(region::ram(*ram), guest_address{0})));
  std::optional<container<tether_test::on_type1::backend_type>> dma{std::in_place, *guest, gate,
                                                                    machine.make()};
  std::optional view{machine.view(*dma)};  // the device's registers, mapped
  if (cured) view.reset();
  dma.reset();
  guest.reset();
  ram.reset();
}
//! [R3]

//! [R4]
void a_block_is_used_after_it_moved(bool cured) {
  auto ram = must(ram_block::allocate("ram", 64 * KiB));
  const auto kept = std::move(ram);
  static_cast<void>(cured ? kept.size() : ram.size());
}
//! [R4]

//! [T2]
struct big_lock {
  static inline thread_local bool held = false;
  static bool is_held() noexcept { return held; }
};
void a_gate_is_used_without_the_lock(bool cured) {
  big_lock::held = true;
  discard_gate<externally_serialised<big_lock>> gate;
  big_lock::held = cured;
  static_cast<void>(gate.counts());
  big_lock::held = true;
}
//! [T2]

/// Both programs of a template, by whether it is cured.
template <void (*Cause)(), void (*Cured)()>
void either(bool cured) {
  (cured ? Cured : Cause)();
}

enum class ends : std::uint8_t { stopped, on };  ///< stopped, or the program goes on

struct numbered {
  const char* number;
  ends how;
  void (*run)(bool cured);
};
const std::vector<numbered> all{
    {"I3", ends::stopped, a_gate_goes_before_a_hold},
    {"I4", ends::stopped, a_thread_suspends_what_it_does},
    {"I5", ends::stopped, one_entry_for_two_kinds},
    {"I6", ends::stopped, a_hold_is_given_back_twice},
    {"I7", ends::on, two_gates_for_one_guest},
    {"I14", ends::stopped, an_entry_goes_while_it_counts},
    {"I15", ends::stopped,
     either<a_policy_needs_more_after_a_close<false>, a_policy_needs_more_after_a_close<true>>},
    {"I16", ends::stopped,
     either<a_policy_answers_otherwise_when_it_runs<false>,
            a_policy_answers_otherwise_when_it_runs<true>>},
    {"I17", ends::stopped, more_than_a_gate_counts},
    {"I18", ends::stopped, a_permit_ends_on_another_thread},
    {"I19", ends::stopped, a_visitor_changes_what_it_is_shown},
    {"B9", ends::stopped, one_backend_for_two_containers},
    {"D1", ends::stopped, a_container_goes_under_a_lease},
    {"D2", ends::on, a_container_goes_that_the_kernel_keeps},
    {"D3", ends::stopped, a_device_is_used_after_its_close},
    {"M1", ends::stopped, a_listener_changes_its_caller},
    {"M2", ends::stopped, an_outer_transaction_ends_first},
    {"M3", ends::stopped, a_space_goes_before_its_container},
    {"M4", ends::on, a_commit_without_a_begin},
    {"O1", ends::on, what_pins_agrees_to_discards},
    {"R1", ends::stopped, a_block_goes_while_it_is_placed},
    {"R2", ends::stopped, memory_is_released_twice},
    {"R3", ends::on, a_block_goes_before_a_view_of_a_bar},
    {"R4", ends::stopped, a_block_is_used_after_it_moved},
    {"T2", ends::stopped, a_gate_is_used_without_the_lock},
};

}  // namespace

TEST_CASE("each number is told by its smallest program, and by the cured one nothing is") {
  for (numbered const& one : all) {
    const std::string number{one.number};
    CAPTURE(number);
    const auto caused = tether_test::in_a_child([&] { one.run(false); });
    CAPTURE(caused.said);
    CHECK(caused.said.find("tether[" + number + "]") != std::string::npos);
    CHECK(caused.aborted == (one.how == ends::stopped));
    const auto cured = tether_test::in_a_child([&] { one.run(true); });
    CAPTURE(cured.said);
    CHECK(cured.said.empty());
    CHECK(cured.exit_code == 0);
  }
}

}  // namespace scenario_numbered_messages
