// SPDX-License-Identifier: BSL-1.0
// Takes a guest of real memory through the same story in every valid configuration of tether, and
// first of all twice without tether, where it goes wrong for real: blocks alone do not help. The
// story is told in demo/story.hpp.
#include "demo/arguments.hpp"
#include "demo/configurations.hpp"
#include "demo/host.hpp"
#include "demo/json.hpp"
#include "demo/must.hpp"
#include "demo/row.hpp"
#include "demo/sizes.hpp"
#include "demo/story.hpp"
#include "demo/table.hpp"
#include "demo/unprotected.hpp"

#include <boost/hana/for_each.hpp>
#include <boost/hana/size.hpp>
#include <boost/hana/unpack.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace {

using namespace demo;

/// Runs story after story, and keeps the results.
class walk {
 public:
  walk(std::uint64_t memory, pinning allowed)
      : memory_{memory},
        allowed_{std::move(allowed)},
        progress_{decltype(hana::size(every_valid_configuration))::value + 2 +
                  decltype(hana::size(backends))::value} {}

  void without_tether() {
    run({.backend = "none (io_uring)",
         .inhibition = "-",
         .granularity = "-",
         .guest_bytes = allowed_.most},
        allowed_.most != 0, [](row& told) { tell_unprotected(told); });
    run({.backend = "none (io_uring)",
         .inhibition = "-",
         .granularity = "blocks of 2 MiB",
         .guest_bytes = allowed_.most},
        allowed_.most != 0, [](row& told) { tell_unprotected(told, 2 * tether::MiB); });
  }

  template <class Backend, class Inhibition, class Granularity>
  void with() {
    const std::uint64_t most = Backend::pins ? allowed_.most : memory_;
    run(described<Backend, Inhibition, Granularity>(most), most != 0, [this](row& told) {
      shrink_to_budget<Backend, Granularity>(told);
      tell<Backend, Inhibition, Granularity>(told);
    });
  }

  /// Blocks of 4 KiB: the row that shows the refused budget. A guest that is small enough is not
  /// refused.
  template <class Backend>
  void with_the_smallest_blocks() {
    using inhibition = tether::inhibit_per_group;
    using smallest = tether::fixed_block<4 * tether::KiB>;
    const std::uint64_t most = Backend::pins ? allowed_.most : memory_;
    run(described<Backend, inhibition, smallest>(most), most != 0, [&](row& told) {
      const std::uint64_t budget = must(make_backend<Backend>()).free_mappings();
      const std::string all =
          std::to_string(most / (4 * tether::KiB)) + " blocks of 4 KiB for " + in_words(most);
      if (most / (4 * tether::KiB) > budget) {
        tell_refusal<Backend, inhibition, smallest>(told, budget);
        note(told.backend + " holds " + std::to_string(budget) + " mappings, and not " + all +
             ": " + told.remarks.back());
      } else {
        tell<Backend, inhibition, smallest>(told);
        note(told.backend + " holds " + std::to_string(budget) + " mappings, so " + all +
             " are not refused; a larger guest's are");
      }
    });
  }

  void note(std::string sentence) {
    if (std::ranges::find(notes_, sentence) == notes_.end()) notes_.push_back(std::move(sentence));
  }
  void begin() const { table_.head(); }
  [[nodiscard]] bool good() const {
    return std::ranges::none_of(rows_, [](row const& one) { return one.ended == verdict::wrong; });
  }
  [[nodiscard]] std::vector<row> const& rows() const { return rows_; }
  [[nodiscard]] std::vector<std::string> const& notes() const { return notes_; }

 private:
  template <class Backend, class Inhibition, class Granularity>
  static row described(std::uint64_t bytes) {
    return {.backend = name_of_policy<Backend>,
            .inhibition = name_of_policy<Inhibition>,
            .granularity = name_of_policy<Granularity>,
            .guest_bytes = bytes};
  }

  /// A granularity that cuts finely may need more mappings than there are: then its guest is a
  /// smaller one.
  template <class Backend, class Granularity>
  void shrink_to_budget(row& told) {
    const auto iommu = must(make_backend<Backend>());
    const auto needed = [&](std::uint64_t bytes) {
      return mappings_promised<Granularity>(bytes, tether::host_address{0}, iommu.page_sizes());
    };
    const std::uint64_t wanted = told.guest_bytes;
    while (needed(told.guest_bytes) > iommu.free_mappings())
      told.guest_bytes = tether::round_down(told.guest_bytes - 1, tether::MiB);
    if (told.guest_bytes == wanted) return;
    note(told.backend + " holds " + std::to_string(iommu.free_mappings()) + " mappings, and " +
         told.granularity + " takes " + std::to_string(needed(wanted)) + " of them for " +
         in_words(wanted) + ": that guest has " + in_words(told.guest_bytes));
  }

  template <class Story>
  void run(row told, bool allowed, Story story) {
    progress_.next(told.backend + ", " + told.inhibition + ", " + told.granularity);
    if (!allowed) {
      told.ended = verdict::not_run;
    } else {
      try {
        story(told);
      } catch (std::exception const& why) {
        told.remark_wrong(why.what());
      }
    }
    progress_.clear();
    table_.add(told);
    rows_.push_back(std::move(told));
  }

  std::uint64_t memory_;
  pinning allowed_;
  table table_{};
  progress progress_;
  std::vector<row> rows_{};
  std::vector<std::string> notes_{};
};

int say(std::string const& sentence) {
  std::fprintf(stderr, "passthrough_demo: %s\n", sentence.c_str());
  return 2;
}

}  // namespace

int main(int count, char** words) try {
  const auto parsed = parse(
      std::span<char const* const>{words + 1, static_cast<std::size_t>(count > 0 ? count - 1 : 0)});
  if (auto const* wrong = std::get_if<std::string>(&parsed)) return say(*wrong);
  const auto asked = std::get<arguments>(parsed);
  if (asked.help) {
    std::fputs(usage, stdout);
    return 0;
  }
  // The unprotected story needs the most: what it discards stays pinned beside the pages that take
  // its place.
  if (const auto spare = memory_to_spare(); spare != 0 && asked.memory > spare / 2) {
    return say("--memory: a guest of " + in_words(asked.memory) + " is more than half of the " +
               in_words(spare / tether::MiB * tether::MiB) + " that this machine has to spare");
  }
  std::ofstream json;
  if (!asked.json.empty()) {
    json.open(asked.json);
    if (!json) return say("--json: '" + asked.json + "' cannot be written");
  }

  const pinning allowed = largest_pinned_guest(asked.memory);
  walk walk{asked.memory, allowed};
  if (allowed.most == 0) {
    walk.note("nothing can be pinned here (" + allowed.why +
              "), so only the software IOMMU's rows were run");
  } else if (allowed.most < asked.memory) {
    walk.note(allowed.why + ", so guests whose memory is pinned were shrunk to " +
              in_words(allowed.most));
  }
  walk.begin();
  walk.without_tether();
  hana::for_each(every_valid_configuration, [&](auto configuration) {
    hana::unpack(configuration, [&](auto... one) { walk.with<typename decltype(one)::type...>(); });
  });
  hana::for_each(backends, [&](auto backend) {
    walk.with_the_smallest_blocks<typename decltype(backend)::type>();
  });

  for (auto& why : backends_for_hardware()) walk.note(std::move(why));
  std::puts("");
  for (auto const& note : walk.notes()) std::printf("note: %s\n", note.c_str());
  std::puts(walk.good() ? "Every row is as it must be." : "NOT every row is as it must be.");
  if (json.is_open()) {
    write_json(json, asked.memory, walk.rows(), walk.notes(), walk.good());
    json.flush();
    if (!json) return say("--json: '" + asked.json + "' could not be written to the end");
  }
  return walk.good() ? 0 : 1;
} catch (std::exception const& why) {
  std::fprintf(stderr, "passthrough_demo: %s\n", why.what());
  return 1;
}
