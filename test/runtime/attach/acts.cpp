// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/acts.hpp>

#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/inhibit_per_group.hpp>

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

TEST_CASE("a step's end is done, failed or stuck as its error says, and the first error is the one that is told") {
  detail::group_record<software_iommu, inhibit_per_group> group{1, "group"};
  detail::task<software_iommu, inhibit_per_group> task{.group = group};
  using ended = decltype(task.end({}));
  CHECK(task.end({}) == ended::done);
  CHECK_FALSE(task.first_error.has_value());
  CHECK(task.end(failure(error{"first", errc::overlaps})) == ended::failed);
  CHECK(task.end(failure(error{"second", errc::not_mapped}.leaving_things_behind())) == ended::stuck);
  REQUIRE(task.first_error.has_value());
  CHECK(task.first_error->is(errc::overlaps));
}
