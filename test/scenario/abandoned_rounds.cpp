// SPDX-License-Identifier: BSL-1.0
// Attach and abandon, 20,000 times: what was abandoned leaves nothing behind, neither memory nor
// work for the next attach.
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#include <support/must.hpp>
#include <support/single_steps.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <malloc.h>
#include <optional>

namespace scenario_abandoned_rounds {

using namespace tether;
using namespace tether_test;

namespace {

/// One container, which is used again after every `abandon()`.
struct reused {
  address_space guest;
  discard_gate<> gate;
  container<software_iommu> dma{guest, gate, software_iommu{}};
  endpoint_group group{"a group with a name too long to be stored in place", {{"nic"}}};

  void rounds(int count) {
    for (int i = 0; i != count; ++i) {
      static_cast<void>(must(dma.attach(group)));
      must(dma.abandon());
    }
  }
};

}  // namespace

TEST_CASE("the last rounds of attach and abandon take as many instructions as the first") {
  std::optional<reused> world;  // made by the child that is counted: a parent's refuses it
  const auto after = [&](int rounds, std::uint64_t most) {
    return instructions_of([&] { world.emplace().rounds(rounds); }, [&] { world->rounds(1); },
                           most);
  };
  const auto first = after(20, 10'000'000);
  if (!first) return skip_because("this process may not trace its child");
  const auto last = after(20'000 - 1, 2 * *first + 1);
  REQUIRE(last);
  CHECK(*last <= 2 * *first);
}

TEST_CASE("attach and abandon keep no memory") {
  reused world;
  world.rounds(100);
  const std::size_t before = ::mallinfo2().uordblks;
  world.rounds(2'000);
  CHECK(::mallinfo2().uordblks <= before + 1024);
}

}  // namespace scenario_abandoned_rounds
