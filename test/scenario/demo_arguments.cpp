// SPDX-License-Identifier: BSL-1.0
// The demo is the first thing that a newcomer runs, perhaps with a slip of the finger.
#include "../../examples/demo/arguments.hpp"

#include <doctest/doctest.h>

#include <string>
#include <variant>
#include <vector>

namespace scenario_demo_arguments {

using demo::arguments;
using tether::GiB;
using tether::KiB;
using tether::MiB;

namespace {

std::variant<arguments, std::string> parsed(std::vector<char const*> const& words) {
  return demo::parse(words);
}
arguments understood(std::vector<char const*> const& words) {
  return std::get<arguments>(parsed(words));
}

}  // namespace

TEST_CASE("the demo takes sizes with a suffix, and 256 MiB where none is given") {
  CHECK(understood({}).memory == 256 * MiB);
  CHECK(understood({"--memory", "64M"}).memory == 64 * MiB);
  CHECK(understood({"--memory", "1088k"}).memory == 1088 * KiB);
  CHECK(understood({"--memory", "2G"}).memory == 2 * GiB);
  CHECK(understood({"--memory", "16777216"}).memory == 16 * MiB);
  CHECK(understood({"--json", "rows.json", "--memory", "1M"}).json == "rows.json");
  CHECK(understood({"--help"}).help);
}

TEST_CASE("the demo answers everything else with one sentence that names the word") {
  const std::vector<std::vector<char const*>> wrong{{"--memory"},
                                                    {"--json"},
                                                    {"--memory", ""},
                                                    {"--memory", "M"},
                                                    {"--memory", "12Q"},
                                                    {"--memory", "-4M"},
                                                    {"--memory", "4 M"},
                                                    {"--memory", "64M "},
                                                    {"--memory", "0"},
                                                    {"--memory", "3G"},
                                                    {"--memory", "1K"},
                                                    {"--memory", "1025K"},
                                                    {"--json", ""},
                                                    {"--jsno", "x"},
                                                    {"extra"},
                                                    {"--memory", "18446744073709551616"},
                                                    {"--memory", "18014398509481985K"},
                                                    {"--memory", "0x10"},
                                                    {"--memory", "1.5G"}};
  for (auto const& words : wrong) {
    CAPTURE(std::string{words.back()});
    const auto answer = parsed(words);
    REQUIRE(std::holds_alternative<std::string>(answer));
    auto const& sentence = std::get<std::string>(answer);
    CHECK(sentence.find(words.front()) != std::string::npos);
    CHECK(sentence.find('\n') == std::string::npos);
  }
}

}  // namespace scenario_demo_arguments
