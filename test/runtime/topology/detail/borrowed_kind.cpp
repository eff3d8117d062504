// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/borrowed_kind.hpp>

#include <doctest/doctest.h>

#include <string>
#include <utility>

namespace runtime_topology_detail_borrowed_kind {

using namespace tether;
using namespace tether::detail;

namespace {

/// The kinds that are accepted for what was found, as one letter each.
std::string accepted(mapped_memory const& found, errc cause = errc::wrong_kind) {
  std::string letters;
  for (const auto& [kind, letter] :
       {std::pair{memory_kind::private_anonymous, 'a'}, std::pair{memory_kind::private_file, 'f'},
        std::pair{memory_kind::shared, 's'}, std::pair{memory_kind::hugetlb, 'h'}}) {
    const auto checked = check_kind("borrow memory", kind, found);
    if (checked) letters += letter;
    else CHECK_MESSAGE(checked.error().is(cause), checked.error().sentence());
  }
  return letters;
}

}  // namespace

TEST_CASE("what is mapped is accepted under its own name, and under no other") {
  CHECK(accepted({.what = mapped_as::private_anonymous}) == "af");
  CHECK(accepted({.what = mapped_as::private_file}) == "f");
  CHECK(accepted({.what = mapped_as::shared}) == "s");
  CHECK(accepted({.what = mapped_as::huge}) == "h");
  CHECK(accepted({.what = mapped_as::mixed}).empty());
  CHECK(accepted({.what = mapped_as::device}).empty());
  CHECK(accepted({.what = mapped_as::nothing}, errc::not_mapped).empty());
  CHECK(accepted({.what = mapped_as::huge_private_file}, errc::unsupported).empty());
}

TEST_CASE(
    "parts of several protections are refused only where a discard would replace the mapping") {
  for (const auto what : {mapped_as::private_anonymous, mapped_as::private_file}) {
    const auto refused = check_kind("borrow memory", memory_kind::private_file,
                                    {.what = what, .one_protection = false});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::unsupported));
  }
  CHECK(accepted({.what = mapped_as::shared, .one_protection = false}) == "s");
}

TEST_CASE("the size of huge pages that were found is in the refusal") {
  const auto refused = check_kind("borrow memory", memory_kind::shared,
                                  {.what = mapped_as::huge, .page_size = 2 * MiB});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().number() == 2 * MiB);
}

}  // namespace runtime_topology_detail_borrowed_kind
