// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/acts.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace tether;

namespace {

struct watched_listener {
  std::string told;
  void begin(commit_kind) noexcept { told += 'b'; }
  void remove(section const&) noexcept { told += 'r'; }
  void add(section const&) noexcept { told += 'a'; }
  result<void> commit_attended(unattended&) noexcept {
    told += 'c';
    return {};
  }
};

}  // namespace

TEST_CASE("a watched replay is a memory listener that passes everything on, and commits with who watches") {
  watched_listener listener;
  unattended nobody;
  detail::attended_replay<watched_listener, unattended> replay{listener, nobody};
  static_assert(memory_listener<decltype(replay)>);
  replay.begin(commit_kind::refusable);
  replay.remove({});
  replay.add({});
  CHECK(replay.commit().has_value());
  CHECK(listener.told == "brac");
}
