// SPDX-License-Identifier: BSL-1.0
// Status in words and as JSON, with names that are chosen to break either.
#include <tether/attach/status.hpp>

#include <support/json_reader.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace runtime_attach_status {

using namespace tether;
using namespace tether_test;

namespace {

json_leaves read(std::string const& text) {
  const auto all = json_reader::read(text);
  CAPTURE(text);
  REQUIRE(all.has_value());
  return *all;
}

constexpr std::string_view nasty = "a\"b\\\n\x01\xff'";
constexpr std::string_view nasty_read = "a\"b\\\n\x01\xef\xbf\xbd'";
constexpr auto most = std::numeric_limits<std::uint64_t>::max();

container_status example() {
  return {.name = std::string{nasty},
          .pins = true,
          .forbids = hold_kind::any,
          .membership = {2, 1},
          .mapped = {2, 128, 64},
          .trimmed_bytes = 7,
          .left_out = 1,
          .usable_iova = {{io_address{0}, io_address{0xfedfffff}},
                          {io_address{0xfef00000}, io_address{most}}},
          .groups = {{.name = "nics",
                      .counts = {.declined = 1, .attached = true},
                      .holds = 1,
                      .unplug_requested = true,
                      .since = 1700000000,
                      .devices = {{std::string{nasty}, consent::none, 2, 1700000001}}},
                     {.name = "vgpus",
                      .counts = {.agreed = 1, .attached = true, .consent_known = true},
                      .devices = {{"vgpu", consent::given}}}}};
}

}  // namespace

TEST_CASE("a gate in words and as JSON") {
  gate_status now;
  CHECK(text_of(now) == "discards: allowed\n");
  CHECK(json_of(now) ==
        "{\"discards_allowed\": true, \"coordinated_discards_allowed\": true, \"holders\": []}");
  now.counts.uncoordinated_holds = 2;
  now.holders = {{label{nasty}, entry_kind::uncoordinated_hold, 2}};
  CHECK(text_of(now) ==
        "discards: inhibited, but for coordinated ones\n"
        "'a\"b\\x5c\\x0a\\x01\\xff\\x27': uncoordinated hold, 2\n");
  const auto leaves = read(json_of(now));
  CHECK(leaves.at("discards_allowed") == "false");
  CHECK(leaves.at("coordinated_discards_allowed") == "true");
  CHECK(leaves.at("holders/0/name") == nasty_read);
  CHECK(leaves.at("holders/0/what") == "uncoordinated hold");
  CHECK(leaves.at("holders/0/count") == "2");
  now.counts.suspensions = 1;
  CHECK(text_of(now).starts_with("discards: inhibited\n"));
}

TEST_CASE("a container in words: one line for each thing that is there") {
  CHECK(text_of(example()) ==
        "container 'a\"b\\x5c\\x0a\\x01\\xff\\x27': 128 bytes mapped in 2, 128 pinned, 64 "
        "discarded, 7 trimmed; 1 section left out; no hold of its own\n"
        "group 'nics': 1 hold on every discard, because 1 open device of it did not agree to "
        "discards; attached since 2023-11-14T22:13:20Z; being unplugged\n"
        "device 'a\"b\\x5c\\x0a\\x01\\xff\\x27' of 'nics': did not agree to discards; 2 leases "
        "out; open since 2023-11-14T22:13:21Z\n"
        "group 'vgpus': no hold of its own, because its open devices agreed to discards; attached "
        "since 1970-01-01T00:00:00Z\n"
        "device 'vgpu' of 'vgpus': agreed to discards; 0 leases out; open since "
        "1970-01-01T00:00:00Z\n");
}

TEST_CASE("a container as JSON: every figure by its name") {
  const auto leaves = read(json_of(example()));
  CHECK(leaves == json_leaves{{"name", std::string{nasty_read}},
                              {"diverged", "false"},
                              {"mapped_bytes", "128"},
                              {"mappings", "2"},
                              {"pinned_bytes", "128"},
                              {"discarded_bytes", "64"},
                              {"trimmed_bytes", "7"},
                              {"left_out_sections", "1"},
                              {"holds", "0"},
                              {"holds_forbid", "any"},
                              {"usable_iova_known", "true"},
                              {"usable_iova/0/first", "0"},
                              {"usable_iova/0/last", "4276092927"},
                              {"usable_iova/1/first", "4277141504"},
                              {"usable_iova/1/last", "18446744073709551615"},
                              {"groups/0/name", "nics"},
                              {"groups/0/holds", "1"},
                              {"groups/0/why", "1 open device of it did not agree to discards"},
                              {"groups/0/unplug_requested", "true"},
                              {"groups/0/since", "2023-11-14T22:13:20Z"},
                              {"groups/0/devices/0/name", std::string{nasty_read}},
                              {"groups/0/devices/0/agrees_to_discards", "false"},
                              {"groups/0/devices/0/leases", "2"},
                              {"groups/0/devices/0/since", "2023-11-14T22:13:21Z"},
                              {"groups/1/name", "vgpus"},
                              {"groups/1/holds", "0"},
                              {"groups/1/why", "its open devices agreed to discards"},
                              {"groups/1/unplug_requested", "false"},
                              {"groups/1/since", "1970-01-01T00:00:00Z"},
                              {"groups/1/devices/0/name", "vgpu"},
                              {"groups/1/devices/0/agrees_to_discards", "true"},
                              {"groups/1/devices/0/leases", "0"},
                              {"groups/1/devices/0/since", "1970-01-01T00:00:00Z"}});
}

TEST_CASE("why a group holds what it holds, and where a container has diverged") {
  container_status now{.pins = true, .forbids = hold_kind::uncoordinated, .holds = 2};
  const auto why = [&](group_counts counts) {
    now.groups = {{.name = "g", .counts = counts, .holds = 2}};
    return text_of(now);
  };
  CHECK(why({.attached = true})
            .find("2 holds on discards that are not coordinated, because no "
                  "device of it has agreed to discards;") != std::string::npos);
  CHECK(why({.attached = true, .consent_known = true})
            .find("because it is known to pin on demand only;") != std::string::npos);
  now.pins = false;
  CHECK(why({.declined = 1}).find("because its backend pins nothing;") != std::string::npos);
  now.diverged = true;
  now.iova_known = false;
  CHECK(text_of(now).find("2 holds on discards that are not coordinated; diverged: call "
                          "abandon()\n") != std::string::npos);
  const auto leaves = read(json_of(now));
  CHECK(leaves.at("diverged") == "true");
  CHECK(leaves.at("holds_forbid") == "uncoordinated");
  CHECK(leaves.at("usable_iova_known") == "false");
}

}  // namespace runtime_attach_status
