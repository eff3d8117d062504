// SPDX-License-Identifier: BSL-1.0
// You want a rule of your own for when discards are inhibited: one hold for a container, instead of
// one for each group. This is how to get it right: write it, let it be proven, read the
// counterexample, fix it. Answers 0 if all went as told here.
#include <tether/proof.hpp>
#include <tether/tether.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>

namespace {

// The first idea. A group pins memory, so discards must be inhibited; but a device that agrees to
// discards pins only what a request uses. So: hold until some device has agreed.
struct until_somebody_agrees {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::container_counts container) noexcept {
    return container.members != 0 && container.need_no_hold == 0 ? 1 : 0;
  }
};

// The second. In the counterexample the consent of one group was taken for that of another, which
// did not agree. So: never release.
struct as_long_as_anything_is_attached {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::container_counts container) noexcept {
    return container.members != 0 ? 1 : 0;
  }
};

// The third. The second was safe, but memory was given back that nothing could have pinned, and the
// discard was refused. So: hold until *every* group that is attached needs no hold, that is, it is
// known not to pin and no device is open in it that did not agree.
struct until_all_have_agreed {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::container_counts container) noexcept {
    return container.need_no_hold < container.members ? 1 : 0;
  }
};

template <class Policy>
using passthrough = tether::container<tether::vfio_type1, Policy>;

// All that it takes in your own code is this line. Try it with one of the others: the compiler
// prints the sentence that this program prints.
static_assert(tether::proven_safe<passthrough<until_all_have_agreed>>);

/// Searches every interleaving of attach, open, close, detach, balloon and guest, with every
/// failure at every step. It is the search that the compiler makes. Answers whether nothing can go
/// wrong.
template <class Policy>
bool prove(char const* name) {
  // Not taken from a container: some of the wrong ones do not compile in one (tether[I11]).
  using configuration =
      tether::proof::abstraction<Policy, tether::lifecycle_of<tether::attach_unit::group>>;
  const auto found = tether::proof::search<configuration>();
  std::printf("%s: %d states, %d transitions\n", name, static_cast<int>(found.states),
              static_cast<int>(found.transitions));
  const auto story = found.description();
  std::string_view rest = story.view();
  if (rest.empty()) std::puts("  nothing can go wrong");
  while (!rest.empty()) {
    const std::size_t end = rest.find("; ");
    std::printf("  %.*s\n", static_cast<int>(rest.substr(0, end).size()), rest.data());
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 2);
  }
  return found.safe();
}

}  // namespace

int main() {
  const bool first = prove<until_somebody_agrees>("until_somebody_agrees");
  const bool second = prove<as_long_as_anything_is_attached>("as_long_as_anything_is_attached");
  const bool third = prove<until_all_have_agreed>("until_all_have_agreed");
  return !first && !second && third ? 0 : 1;
}
