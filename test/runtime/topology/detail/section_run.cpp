// SPDX-License-Identifier: BSL-1.0
#include <tether/core/label.hpp>
#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/detail/section_run.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <memory>

namespace runtime_topology_detail_section_run {

using namespace tether;
using namespace tether::detail;

TEST_CASE("a section and what keeps it alive are appended together, and go together") {
  section_run run;
  const auto owner = std::make_shared<section_owner const>(label{"uart"}, nullptr);
  section one{};
  one.name = owner->name().view();
  for (std::size_t i = 1; i <= 100; ++i) {
    run.append(one, owner);
    CHECK(run.size() == i);
    CHECK(run.owners.size() == i);
  }
  CHECK(owner.use_count() == 101);
  CHECK(run.sections.back().name == "uart");
  run.sections[41].name = "the 42nd";
  run.erase(40);
  CHECK(run.size() == 99);
  CHECK(run.owners.size() == 99);
  CHECK(run.sections[40].name == "the 42nd");
  CHECK(owner.use_count() == 100);
  run.clear();
  CHECK(run.size() == 0);
  CHECK(owner.use_count() == 1);
}

}  // namespace runtime_topology_detail_section_run
