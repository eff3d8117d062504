// SPDX-License-Identifier: BSL-1.0
// What users name things must not break the line, or the JSON, in which it is printed.
#include <tether/core/detail/quoted.hpp>

#include <support/json_reader.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace runtime_core_detail_quoted {

using namespace tether::detail;
using namespace tether_test;

namespace {

std::string json(std::string_view text) {
  std::string to;
  append_json(to, text);
  return to;
}
std::string in_quotes(std::string_view text) {
  std::string to;
  append_quoted(to, text);
  return to;
}
/// What a reader makes of it again.
std::string read(std::string_view text) {
  const auto leaves = json_reader::read(json(text));
  return leaves && leaves->contains("") ? leaves->at("") : "no JSON: " + json(text);
}
constexpr std::string_view unknown = "\xef\xbf\xbd";  // U+FFFD

}  // namespace

TEST_CASE("plain names are as they were") {
  CHECK(json("0000:01:00.0") == "\"0000:01:00.0\"");
  CHECK(in_quotes("0000:01:00.0") == "'0000:01:00.0'");
  CHECK(json("") == "\"\"");
  CHECK(read("K\xc3\xbc"
             "che \xe2\x82\xac \xf0\x9f\x92\xbe") ==
        "K\xc3\xbc"
        "che \xe2\x82\xac \xf0\x9f\x92\xbe");
}

TEST_CASE("each byte alone is read again, or as U+FFFD where it is no UTF-8") {
  for (unsigned byte = 0; byte != 256; ++byte) {
    CAPTURE(byte);
    const std::string text{'a', static_cast<char>(byte), 'z'};
    CHECK(read(text) == (byte < 0x80 ? text : "a" + std::string{unknown} + "z"));
    for (const char c : in_quotes(text)) CHECK((c >= 0x20 && c < 0x7f));
  }
}

TEST_CASE("every two bytes are valid JSON, and lose nothing that is UTF-8") {
  for (unsigned both = 0; both != 0x10000; ++both) {
    const std::string text{static_cast<char>(both >> 8U), static_cast<char>(both & 0xffU)};
    const unsigned lead = both >> 8U;
    const unsigned next = both & 0xffU;
    std::string wanted;
    if (lead >= 0xc2 && lead < 0xe0 && next >= 0x80 && next < 0xc0) {
      wanted = text;
    } else {
      for (const unsigned byte : {lead, next})
        wanted += byte < 0x80 ? std::string(1, static_cast<char>(byte)) : std::string{unknown};
    }
    if (read(text) != wanted) FAIL_CHECK("wrong: " << both << " " << json(text));
  }
}

TEST_CASE("longer ones that look like UTF-8 and are none") {
  for (std::string_view wrong :
       {"\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xe2\x82", "\xe2\x28\xa1", "\xf0\x9f\x92", "\xf0\x9f\x92\x2f", "\xc0\x80"}) {
    CAPTURE(json(wrong));
    CHECK(first_character(wrong) == 0);
    CHECK(json_reader::read(json(wrong)).has_value());
  }
  for (std::string_view right :
       {"\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(first_character(right) == right.size());
    CHECK(read(right) == right);
  }
}

TEST_CASE("a line stays one line") {
  CHECK(in_quotes("a\nb") == "'a\\x0ab'");
  CHECK(in_quotes("it's") == "'it\\x27s'");
  CHECK(in_quotes("\\x0a") == "'\\x5cx0a'");
  CHECK(in_quotes("\xff") == "'\\xff'");
  CHECK(in_quotes("\x1b[2J") == "'\\x1b[2J'");
  CHECK(in_quotes("\xc2\x9b"
               "2J\xc2\xa0") == "'\\xc2\\x9b2J\xc2\xa0'");
  CHECK(json("a\"b\\c\x1f") == "\"a\\\"b\\\\c\\u001f\"");
}

}  // namespace runtime_core_detail_quoted
