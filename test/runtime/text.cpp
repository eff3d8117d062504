// SPDX-License-Identifier: BSL-1.0
#include <tether/text.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <tuple>

namespace runtime_text {

using namespace tether;

TEST_CASE("an address and an extent say their space, in hexadecimal") {
  CHECK(text_of(guest_address{0}) == "guest physical 0x0");
  CHECK(text_of(io_address{~std::uint64_t{0}}) == "I/O virtual 0xffffffffffffffff");
  CHECK(text_of(extent<host_address>{host_address{0x1000}, host_address{0x1fff}}) ==
        "host virtual [0x1000, 0x1fff]");
}

TEST_CASE("a section says what it is, its name and whether it is only read") {
  section one{.where = {guest_address{0}, guest_address{0xffff}}, .name = "dimm"};
  CHECK(text_of(one) == "ram 'dimm' at guest physical [0x0, 0xffff]");
  one.kind = region_kind::rom;
  one.read_only = true;
  one.name = {};
  CHECK(text_of(one) == "rom at guest physical [0x0, 0xffff], read-only");
}

TEST_CASE("every kind of region has a name of its own") {
  for (const auto& [kind, name] :
       {std::tuple{region_kind::ram, "ram"}, std::tuple{region_kind::rom, "rom"},
        std::tuple{region_kind::mmio, "mmio"}, std::tuple{region_kind::ram_device, "ram_device"},
        std::tuple{region_kind::iommu_window, "iommu_window"}})
    CHECK(std::string{name_of(kind)} == name);
}

TEST_CASE("an error says its sentence, a report what is not zero") {
  const error why{"map", errc::over_budget};
  CHECK(text_of(why) == why.sentence());
  discard_report all{.requested = 4, .discarded = 2, .inhibited = 1};
  CHECK(text_of(all) == "4 requested: 2 discarded, 1 inhibited");
  all.fail(1, why);
  CHECK(text_of(all) ==
        "4 requested: 2 discarded, 1 inhibited, 1 failed; first error: " + why.sentence());
  CHECK(text_of(discard_report{}) == "0 requested");
}

template <class T>
std::string streamed(T const& value) {
  std::ostringstream to;
  to << std::hex << value;  // whatever base it is set to
  return to.str();
}

TEST_CASE("a stream is given the same") {
  const section one{.where = {guest_address{0}, guest_address{0xffff}}, .name = "dimm"};
  CHECK(streamed(io_address{0x1000}) == text_of(io_address{0x1000}));
  CHECK(streamed(one.where) == text_of(one.where));
  CHECK(streamed(one) == text_of(one));
  section odd = one;
  odd.name = "a\nb";
  CHECK(streamed(odd).find(" 'a\\x0ab' at ") != std::string::npos);
  const error why{"map", errc::over_budget};
  CHECK(streamed(why) == text_of(why));
  const discard_report all{.requested = 40, .discarded = 40};
  CHECK(streamed(all) == "40 requested: 40 discarded");
}

static_assert(has_text<guest_address> && has_text<error> && !has_text<int>);

}  // namespace runtime_text
