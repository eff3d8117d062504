// SPDX-License-Identifier: BSL-1.0
// QEMU's way, stated anew and kindly: each commit renders the whole view (here from a sorted list,
// without searching where a range belongs), and walks old and new one twice. Nobody is attached.
#include <commit/commit.hpp>

#include <difference/two_passes.hpp>
#include <racing/on_processor.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace {

using difference::two_passes::range;

class machine {
 public:
  explicit machine(std::uint64_t sections) : regions_(sections) {
    for (std::uint64_t i = 0; i != sections; ++i) regions_[i] = region_at(i, 0);
    commit();
  }
  [[gnu::noinline]] void place_and_remove_one() {
    const auto middle = static_cast<std::ptrdiff_t>(regions_.size() / 2);
    auto one = region_at(regions_.size() / 2, regions_.size());
    one.start += commit::page;
    regions_.insert(regions_.begin() + middle + 1, one);
    commit();
    regions_.erase(regions_.begin() + middle + 1);
    commit();
  }
  [[gnu::noinline]] void replace_all() {
    shift_ = 1 - shift_;
    for (std::uint64_t i = 0; i != regions_.size(); ++i) regions_[i] = region_at(i, shift_);
    commit();
  }

 private:
  static range region_at(std::uint64_t i, std::uint64_t shift) {
    return difference::two_passes::range_of(commit::place_of(i), commit::page,
                                            (i + shift) * commit::page);
  }
  void commit() {
    std::vector<range> now;
    for (range const& one : regions_) {
      if (!now.empty() && now.back().start + now.back().size == one.start &&
          now.back().memory == one.memory && now.back().read_only == one.read_only &&
          now.back().offset + static_cast<std::uint64_t>(now.back().size) == one.offset)
        now.back().size += one.size;
      else now.push_back(one);
    }
    told_ += difference::two_passes::between(view_, now);
    view_ = std::move(now);
  }

  std::vector<range> regions_;
  std::vector<range> view_{};
  std::uint64_t shift_ = 0;
  std::size_t told_ = 0;
};

const bench::side<commit::one_of> one{
    "rendered anew (QEMU)", [](commit::one_of& of) {
      return bench::repeated([vm = std::make_shared<machine>(of.sections)](std::uint64_t count) {
        return bench::nanoseconds_on_processor([&] {
          for (; count != 0; --count) vm->place_and_remove_one();
        });
      });
    }};
const bench::side<commit::all_of> all{
    "rendered anew (QEMU)", [](commit::all_of& of) -> bench::sample {
      return [vm = std::make_shared<machine>(of.sections),
              sections = static_cast<double>(of.sections)] {
        return bench::nanoseconds_on_processor([&] { vm->replace_all(); }) / sections;
      };
    }};

}  // namespace
