// SPDX-License-Identifier: BSL-1.0
// tether, with as many containers as the names say.
#include <commit/machine.hpp>

#include <racing/on_processor.hpp>

#include <memory>

namespace {

template <unsigned Containers>
bench::sample changes_one(commit::one_of& of) {
  return bench::repeated(
      [vm = std::make_shared<commit::machine>(of.sections, Containers)](std::uint64_t count) {
        return bench::nanoseconds_on_processor([&] {
          for (; count != 0; --count) vm->place_and_remove_one();
        });
      });
}

template <unsigned Containers>
bench::sample changes_all(commit::all_of& of) {
  return [vm = std::make_shared<commit::machine>(of.sections, Containers),
          sections = static_cast<double>(of.sections)] {
    return bench::nanoseconds_on_processor([&] { vm->replace_all(); }) / sections;
  };
}

template <bool Detaches>
bench::sample attaches(commit::detach_of& of) {
  return [vm = std::make_shared<commit::machine>(of.sections, 1),
          sections = static_cast<double>(of.sections)] {
    const double gone = bench::nanoseconds_on_processor([&] { vm->detach(0); });
    const double back = bench::nanoseconds_on_processor([&] { vm->attach(0); });
    return (Detaches ? gone : back) / sections;
  };
}

const bench::side<commit::one_of> one_0{"tether, nobody attached", changes_one<0>};
const bench::side<commit::one_of> one_1{"tether", changes_one<1>};
const bench::side<commit::one_of> one_3{"tether, 3 containers", changes_one<3>};
const bench::side<commit::all_of> all_0{"tether, nobody attached", changes_all<0>};
const bench::side<commit::all_of> all_1{"tether", changes_all<1>};
const bench::side<commit::all_of> all_3{"tether, 3 containers", changes_all<3>};
const bench::side<commit::detach_of> detach{"tether", attaches<true>};
const bench::side<commit::detach_of> attach{"tether, attach", attaches<false>};

}  // namespace
