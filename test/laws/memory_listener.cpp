// SPDX-License-Identifier: BSL-1.0
#include <laws/memory_listener.hpp>

#include <tether/topology/listener_table.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

using namespace tether;

namespace {

struct recorder_subject {
  ram_block block = tether_test::must(ram_block::allocate("ram", 64 * KiB));
  tether_test::listener_recorder recorder;

  tether_test::listener_recorder& listener() { return recorder; }
  [[nodiscard]] std::vector<section> state() const { return recorder.mapped(); }
  [[nodiscard]] bool reaches(section const& one) const {
    const auto all = state();
    return std::find(all.begin(), all.end(), one) != all.end();
  }
  void refuse_next_commit() { recorder.refuse_at = 1; }
  [[nodiscard]] section ram(std::uint64_t first, std::uint64_t pages) const {
    return {extent<guest_address>::of(guest_address{first * 4096}, pages * 4096).value(), &block.backing(), block_offset{first * 4096},
            region_kind::ram, false, false, "ram"};
  }
};

/// The same, as the address space calls it.
struct handle_subject : recorder_subject {
  detail::listener_handle handle{recorder};
  detail::listener_handle& listener() { return handle; }
};

}  // namespace

TEST_CASE_TEMPLATE("memory_listener keeps its laws", Subject, recorder_subject, handle_subject) {
  tether_test::memory_listener_laws<Subject>();
}
