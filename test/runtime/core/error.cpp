// SPDX-License-Identifier: BSL-1.0
#include <tether/core/error.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <system_error>
#include <type_traits>

namespace runtime_core_error {

using namespace tether;

namespace {

const extent<io_address> somewhere{io_address{0x100000}, io_address{0x1fffff}};

}  // namespace

TEST_CASE("an error prints as one sentence: operation, subject, extent, cause, advice") {
  const error whole = error{"map", errc::over_budget}.of("ram").at(somewhere).advise(
      "use blocks of {} bytes or larger", 65536);
  CHECK(whole.sentence() ==
        "map of 'ram' at I/O virtual [0x100000, 0x1fffff]: it takes more mappings than the "
        "container may hold; "
        "use blocks of 65536 bytes or larger");
  CHECK(error{"attach", errc::mixed_group}.sentence() ==
        "attach: the devices of a group must all agree to discards, or none of them");
  CHECK(whole.container().empty());
  CHECK(whole.in("/dev/vfio/12").container() == "/dev/vfio/12");
  CHECK(error{"map", errc::overlaps}.of("ram").in("/dev/vfio/12").sentence() ==
        "map of 'ram' in container '/dev/vfio/12': " + make_error_code(errc::overlaps).message());
  CHECK(error{"map", errc::overlaps}.advise("unmap it first").sentence() ==
        "map: something is there already; unmap it first");
}

TEST_CASE("who stands in the way is not taken for whom it is done to") {
  const error hold = error{"take hold", errc::discards_required}.on_behalf_of("nics");
  CHECK(hold.blocked_by("dimm").sentence() ==
        "take hold for 'nics': 'dimm' requires that discards stay possible");
  CHECK(hold.blocker().empty());
  CHECK(hold.sentence() == "take hold for 'nics': someone requires that discards stay possible");
  CHECK(error{"require discards", errc::discards_disabled}
            .on_behalf_of("dimm")
            .blocked_by("nics")
            .sentence() == "require discards for 'dimm': 'nics' holds discards down");
  const error other = error{"place", errc::overlaps}.of("dimm").blocked_by("ram");
  CHECK(other.sentence() == "place of 'dimm': something is there already ('ram' is in the way)");
  CHECK(other.subject() == "dimm");
  CHECK(other.blocker() == "ram");
}

TEST_CASE("one of what is counted is one, and is said as one") {
  const char* leases = "{} lease{|s} of it {is|are} out";
  const error busy{"detach", errc::still_in_use};
  CHECK(busy.advise(leases, 1).sentence() == "detach: it is still in use; 1 lease of it is out");
  for (const std::uint64_t many : {0u, 2u, 11u})
    CHECK(busy.advise(leases, many).sentence() == "detach: it is still in use; " +
                                                      std::to_string(many) +
                                                      " leases of it are out");
}

TEST_CASE("no name breaks an error's sentence") {
  const error bad = error{"map", errc::overlaps}.of("a\nb").in("it's").blocked_by("\x1b[2J");
  CHECK(bad.sentence() ==
        "map of 'a\\x0ab' in container 'it\\x27s': something is there already ('\\x1b[2J' is in "
        "the way)");
  CHECK(bad.subject() == "a\nb");
}

TEST_CASE("an error names the space that its extent lies in") {
  const error bare{"place", errc::overlaps};
  CHECK_FALSE(bare.has_extent());
  CHECK(bare.at(extent<guest_address>::everything()).sentence() ==
        "place at guest physical [0x0, 0xffffffffffffffff]: something is there already");
  CHECK(bare.at(extent<host_address>{host_address{1}, host_address{2}})
            .sentence()
            .find("host virtual [0x1, 0x2]") != std::string::npos);
  CHECK(bare.at(extent<block_offset>{block_offset{1}, block_offset{2}})
            .sentence()
            .find("block offset [0x1, 0x2]") != std::string::npos);
}

TEST_CASE("a kernel's answer keeps its errno") {
  const error refused = error::from_errno("map", ENOMEM);
  CHECK(refused.is_errno(ENOMEM));
  CHECK_FALSE(refused.is_errno(ENOSPC));
  CHECK(refused.code() == std::errc::not_enough_memory);
  CHECK(refused.sentence() == "map: " + std::generic_category().message(ENOMEM));
  // The value of an errno and of a cause of ours may be the same number.
  CHECK_FALSE(error::from_errno("map", static_cast<int>(errc::not_aligned)).is(errc::not_aligned));
  CHECK_FALSE(error{"map", errc::not_aligned}.is_errno(static_cast<int>(errc::not_aligned)));
}

TEST_CASE("what is added to an error changes a copy, and leaves the rest as it was") {
  const error first{"map", errc::overlaps};
  const error second = first.at(somewhere).of("ram").with_failed_rollback();
  CHECK_FALSE(first.has_extent());
  CHECK_FALSE(first.rollback_failed());
  CHECK(first.subject().empty());
  CHECK(second.rollback_failed());
  CHECK(second.subject() == "ram");
  CHECK(second.first() == 0x100000);
  CHECK(second.last() == 0x1fffff);
  CHECK(second.extent_space() == space::io_virtual);
  CHECK(second.is(errc::overlaps));
  CHECK(second.sentence().ends_with("; what it had done could not all be rolled back"));
}

TEST_CASE("a subject that is too long is cut, says so, and never runs over") {
  for (const std::size_t length : {46u, 47u, 48u, 49u}) {
    const error named = error{"map", errc::overlaps}.of(std::string(length, 'x'));
    CHECK(named.subject().size() == (length < 47 ? length : 47));
  }
  const std::string name(200, 'x');
  CHECK(error{"map", errc::overlaps}.of(name).subject() == std::string(44, 'x') + "...");
  CHECK(error{"map", errc::overlaps}.of(name).of("ram").subject() == "ram");
}

TEST_CASE("a result holds a value or the error") {
  const result<int> good = 7;
  const result<int> bad = failure(error{"open", errc::no_such_device});
  CHECK(good.value() == 7);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().is(errc::no_such_device));
  static_assert(std::is_same_v<result<>, result<void>>);
  static_assert(std::is_trivially_copyable_v<error>,
                "it travels on the map path without an allocation");
}

}  // namespace runtime_core_error
