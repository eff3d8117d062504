// SPDX-License-Identifier: BSL-1.0
#include <tether/testing/journal.hpp>

#include <doctest/doctest.h>

namespace runtime_testing_journal {

using namespace tether;

TEST_CASE("a journal's line names the operation, whom and where, and how it ended if not well") {
  CHECK(sentence({backend_call::quiesce, std::nullopt, "", call_outcome::done}) == "quiesce");
  CHECK(sentence({backend_call::join, std::nullopt, "nic", call_outcome::failed}) ==
        "join 'nic': failed");
  CHECK(sentence({backend_call::unmap, extent<io_address>::everything(), "",
                  call_outcome::stuck}) == "unmap [0x0, 0xffffffffffffffff]: stuck");
  CHECK(sentence({backend_call::map, extent<io_address>{io_address{0x1000}, io_address{0x1fff}}, "",
                  call_outcome::running}) == "map [0x1000, 0x1fff]");
}

TEST_CASE("every operation has a name of its own") {
  for (int i = 0; i <= static_cast<int>(backend_call::abandon); ++i) {
    for (int j = 0; j < i; ++j)
      CHECK(std::string{name_of(static_cast<backend_call>(i))} !=
            name_of(static_cast<backend_call>(j)));
  }
}

}  // namespace runtime_testing_journal
