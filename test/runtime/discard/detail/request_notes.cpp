// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/detail/request_notes.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <memory_resource>

namespace runtime_discard_detail_request_notes {

using namespace tether;
using namespace tether::detail;

TEST_CASE("a request knows each page by itself, and what it has discarded") {
  page_group group{16, std::pmr::get_default_resource()};
  request_notes request{std::pmr::get_default_resource()};
  page_in_request* const note = request.at({1, 70}, {group, 70});
  REQUIRE(note != nullptr);
  CHECK(note->pending == 0);
  CHECK(note->queued == page_in_request::not_queued);
  note->pending = 3;
  CHECK(request.at({1, 70}, {group, 70}) == note);
  CHECK(note->pending == 3);
  CHECK(request.at({2, 70}, {group, 70})->pending == 0);
  CHECK(request.at({1, 71}, {group, 71})->pending == 0);
  CHECK(request.size() == 3);
  CHECK_FALSE(request.has_discarded({1, 70}));
  request.note_discarded(*note);
  CHECK(request.has_discarded({1, 70}));
  CHECK_FALSE(request.has_discarded({1, 71}));
  CHECK_FALSE(request.has_discarded({2, 70}));
  CHECK_FALSE(request.has_discarded({1, 6}));
  CHECK(request.size() == 2);
  CHECK(request.at({1, 70}, {group, 70})->pending == 0);
}

TEST_CASE("a note belongs to the group in which its page was named last") {
  page_group one{16, std::pmr::get_default_resource()};
  page_group other{16, std::pmr::get_default_resource()};
  request_notes request{std::pmr::get_default_resource()};
  CHECK(request.at({1, 0}, {one, 0})->page == partial_page{one, 0});
  CHECK(request.at({1, 0}, {other, 0})->page == partial_page{other, 0});
}

TEST_CASE("where there is no memory for a note there is none, and nothing is thrown") {
  page_group group{16, std::pmr::get_default_resource()};
  request_notes request{std::pmr::null_memory_resource()};
  CHECK(request.at({1, 0}, {group, 0}) == nullptr);
  CHECK(request.size() == 0);
}

}  // namespace runtime_discard_detail_request_notes
