// SPDX-License-Identifier: BSL-1.0
// Runs the same story on tether's container and on the one by hand, under callgrind: two groups
// come, a device that agrees and one that does not are opened and closed, both groups go. Each kind
// of step is counted apart.
#include <codegen/container_by_hand.hpp>
#include <codegen/system_calls.hpp>

#include <tether/attach/container.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/inhibit/threading.hpp>

#include <valgrind/callgrind.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

using namespace tether;
using namespace codegen;

constexpr int times = 50;

template <class Outcome>
auto must(Outcome outcome) {
  if (!outcome) std::abort();
  if constexpr (requires { *outcome; } && !std::is_void_v<typename Outcome::value_type>)
    return *outcome;
}

/// Collects while it lives, if its step is the one that is counted.
class counted {
 public:
  explicit counted(bool on) : on_{on} {
    if (on_) CALLGRIND_TOGGLE_COLLECT;
  }
  ~counted() {
    if (on_) CALLGRIND_TOGGLE_COLLECT;
  }

 private:
  bool on_;
};

enum step {
  attach_first,
  attach_next,
  open_other,
  open_agreeing,
  close_other,
  close_agreeing,
  detach_next,
  detach_last,
  steps
};
constexpr char const* names[steps] = {"attach_first",  "attach_next", "open_other",
                                      "open_agreeing", "close_other", "close_agreeing",
                                      "detach_next",   "detach_last"};

/// One story. Answers what the gate counted on the way and what the backend was asked.
template <class Container, class Threading>
std::uint64_t story(step which) {
  codegen_asked = 0;
  address_space space;
  discard_gate<Threading> gate;
  Container dma{space, gate};
  std::uint64_t holds = 0;
  const auto look = [&] { holds = holds * 7 + gate.counts().any_holds; };
  const auto counting = [&](step now, auto what) {
    auto outcome = [&] {
      const counted here{now == which};
      return what();
    }();
    look();
    return outcome;
  };
  const fake_group physical{"physical", 1};
  const fake_group mediated{"mediated", 2};
  auto first = must(counting(attach_first, [&] { return dma.attach(physical); }));
  auto next = must(counting(attach_next, [&] { return dma.attach(mediated); }));
  auto other = must(counting(open_other, [&] { return first.open("p0", consent::none); }));
  auto agreeing = must(counting(open_agreeing, [&] { return next.open("m0", consent::given); }));
  must(counting(close_other, [&] { return other.close(); }));
  must(counting(close_agreeing, [&] { return agreeing.close(); }));
  must(counting(detach_next, [&] { return next.detach(); }));
  must(counting(detach_last, [&] { return first.detach(); }));
  return codegen_asked ^ (holds << 32);
}

template <class Container, class Threading>
std::uint64_t run(int number, char const* side) {
  std::uint64_t deeds = story<Container, Threading>(steps);  // binds the symbols
  for (int now = 0; now != steps; ++now) {
    char label[64];
    std::snprintf(label, sizeof label, "%d %s %s", number, names[now], side);
    CALLGRIND_ZERO_STATS;
    for (int i = 0; i != times; ++i)
      deeds = deeds * 3 + story<Container, Threading>(static_cast<step>(now));
    CALLGRIND_DUMP_STATS_AT(label);
  }
  return deeds;
}

template <bool Pins, class Threading>
bool compare(int number, char const* name) {
  using generic = container<fake_iommu<Pins>, inhibit_per_group, Threading>;
  using by_hand = container_by_hand<Pins, Threading>;
  static_assert(sizeof(generic) == sizeof(by_hand));
  static_assert(
      sizeof(detail::group_record<fake_iommu<Pins>, typename generic::policies::inhibition>) ==
      sizeof(group_by_hand<Pins>));
  std::printf("%d %s\n", number, name);
  return run<generic, Threading>(number, "generic") == run<by_hand, Threading>(number, "by_hand");
}

}  // namespace

/// Ends with 1 if the two did not do the same.
int main() {
  bool same = compare<true, single_threaded>(0, "pins, per_group, single");
  same = compare<true, multi_threaded>(1, "pins, per_group, multi") && same;
  same = compare<false, single_threaded>(2, "pins nothing, single") && same;
  same = compare<false, multi_threaded>(3, "pins nothing, multi") && same;
  if (!same) std::puts("tether's container and the one by hand did not do the same");
  return same ? 0 : 1;
}
