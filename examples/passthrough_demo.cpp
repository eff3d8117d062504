// SPDX-License-Identifier: BSL-1.0
// Takes a guest of real memory through the same story in every valid configuration of tether, and
// first of all twice without tether, where it goes wrong for real: blocks alone do not help. The
// story is told in demo/story.hpp.
#include "demo/arguments.hpp"
#include "demo/configurations.hpp"
#include "demo/host.hpp"
#include "demo/json.hpp"
#include "demo/row.hpp"
#include "demo/sizes.hpp"
#include "demo/unprotected.hpp"
#include "demo/walk.hpp"

#include <tether/core/address.hpp>

#include <boost/hana/for_each.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <variant>

namespace {

using namespace demo;

/// A guest that nobody protects, whole and in blocks.
void tell_without_tether(walk& into) {
  const row whole{.backend = "none (io_uring)",
                  .inhibition = "-",
                  .granularity = "-",
                  .guest_bytes = into.most_pinned()};
  into.run(whole, [](row& told) { tell_unprotected(told); });
  row blocks = whole;
  blocks.granularity = "blocks of 2 MiB";
  into.run(blocks, [](row& told) { tell_unprotected(told, 2 * tether::MiB); });
}

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
  tell_without_tether(walk);
  hana::for_each(backends, [&](auto over) {
    tell_every_configuration<typename decltype(over)::type>(walk);
  });
  hana::for_each(backends, [&](auto over) {
    tell_the_smallest_blocks<typename decltype(over)::type>(walk);
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
