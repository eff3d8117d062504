// SPDX-License-Identifier: BSL-1.0
// What check.py must refuse, each for its own reason: a checker that accepts everything is worth
// nothing.
#include <codegen/lifecycle.hpp>
#include <codegen/map_path.hpp>

#include <tether/attach/container.hpp>
#include <tether/attach/lifecycle/plans.hpp>

#include <cstdint>

namespace codegen::wrong {

using tether::mapping;

// A backend behind an interface: the call goes through a virtual table.
struct any_iommu {
  virtual int map(mapping const& what) noexcept = 0;
  virtual int unmap(tether::extent<tether::io_address> where) noexcept = 0;

 protected:
  ~any_iommu() = default;
};
struct virtual_call : fake_iommu<true> {
  any_iommu* behind = nullptr;
  [[nodiscard]] tether::result<void> map(mapping const& what) noexcept {
    return as_result("map", behind->map(what));
  }
  [[nodiscard]] tether::result<void> unmap(tether::extent<tether::io_address> where) noexcept {
    return as_result("unmap", behind->unmap(where));
  }
};

// An observer that remembers each piece on the heap.
struct allocation {
  using slot = tether::observation_slot;
  mapping* latest = nullptr;
  void mapped(mapping const& what) noexcept { latest = new mapping{what}; }
};

// An observer that is a little more work than nothing.
struct extra_work {
  using slot = tether::observation_slot;
  std::uint64_t pieces = 0;
  std::uint64_t readable = 0;
  std::uint64_t highest = 0;
  void mapped(mapping const& what) noexcept {
    ++pieces;
    if (tether::allows(what.rights, tether::access::read)) readable += what.where.size();
    if (what.host.value > highest) highest = what.host.value;
  }
};

// A gate for many threads under the name of one for a single thread.
struct lock_as_single_threaded : tether::multi_threaded {};

// The acts of a plan in a loop, at run time: the form that proof.md warns of.
struct loop_and_switch {
  struct container {
    struct attached {};
    struct opened {};
    int number = 0;

    [[nodiscard]] tether::result<void> attach(fake_group const& group) noexcept {
      using tether::act;
      using lifecycle = tether::standard_lifecycle;
      int answer = 0;
      for (tether::cursor at{}; at.ended == tether::ending::none;) {
        switch (tether::act_at<lifecycle>(at)) {
          case act::raise_holds: answer = codegen_open(number, ""); break;
          case act::lower_holds: answer = codegen_close(number); break;
          case act::join: answer = codegen_join(number, group.number); break;
          case act::leave: answer = codegen_leave(number, group.number); break;
          case act::replay: answer = codegen_wait(number); break;
          case act::withdraw: answer = codegen_destroy(number); break;
          case act::judge: answer = codegen_classify(number, ""); break;
          case act::open: answer = codegen_open(group.number, ""); break;
          case act::close: answer = codegen_close(group.number); break;
          case act::commit: number += 1; break;
          case act::nothing: break;
        }
        at = tether::advance<lifecycle>(
            at, answer == 0 ? tether::outcome::done : tether::outcome::failed);
      }
      return as_result("attach", answer);
    }
  };
};

template <class Backend, class Threading, class... More>
using policies = policy_list<Backend, tether::inhibit_per_group,
                             tether::fixed_block<64 * tether::KiB>, Threading, More...>;

/// Having its address taken here, each is generated.
extern constinit const map_functions map_paths[] = {
    {&generic::map<policies<virtual_call, tether::single_threaded>>,
     &by_hand::map<policies<virtual_call, tether::single_threaded>>},
    {&generic::map<policies<fake_iommu<true>, tether::single_threaded, allocation>>,
     &by_hand::map<policies<fake_iommu<true>, tether::single_threaded, allocation>>},
    {&generic::map<policies<fake_iommu<true>, tether::single_threaded, extra_work>>,
     &by_hand::map<policies<fake_iommu<true>, tether::single_threaded, extra_work>>},
};
extern constinit const auto executor = &generic::attach<loop_and_switch>;
extern constinit const auto passed_off =
    addresses_of<policies<fake_iommu<true>, lock_as_single_threaded>>();

}  // namespace codegen::wrong
