// SPDX-License-Identifier: BSL-1.0
// Runs both sides of every configuration's map path under callgrind, which counts their
// instructions. Each run is dumped under the name "<number> <function> <side>"; check.py reads the
// totals.
#include <codegen/map_path.hpp>
#include <codegen/system_calls.hpp>

#include <tether/inhibit/threading.hpp>
#include <tether/listen/detail/section_plan.hpp>

#include <valgrind/callgrind.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <mutex>

namespace {

using namespace tether;
using namespace codegen;

/// What a `path<...>` of either side is in memory; map_path.hpp asserts that they agree in size.
struct path_image {
  void* mutex;
  void* backend;
  std::uint64_t sizes = 4 * KiB | 2 * MiB | GiB;
  std::uint64_t mappings = 0;
  std::uint64_t bytes = 0;
};

/// Some 300 KiB that begin and end in the midst of a 64 KiB block, so that pieces of several sizes
/// come of them.
detail::section_plan some_plan() {
  detail::section_plan plan;
  plan.fit.inside = {.where = {io_address{0x100d000}, io_address{0x1057fff}},
                     .host = host_address{0x7f000000d000}};
  plan.offset = block_offset{0xd000};
  plan.pieces = 3;
  return plan;
}

using function = result<void> (*)(void*, detail::section_plan const&) noexcept;

[[gnu::noinline]] void repeat(function what, void* path, detail::section_plan const& plan) {
  constexpr int times = 100;
  for (int i = 0; i < times; ++i) static_cast<void>(what(path, plan));
}

/// What it did, to the world and to its own counters.
struct deeds {
  std::uint64_t calls, asked, mappings, bytes;
  friend bool operator==(deeds const&, deeds const&) = default;
};

deeds count(function what, std::size_t number, char const* name) {
  std::mutex mutex;
  fake_iommu<true> backend;
  path_image path{&mutex, &backend};
  const detail::section_plan plan = some_plan();
  repeat(what, &path, plan);  // binds the symbols
  codegen_asked = codegen_calls = 0;
  char label[64];
  std::snprintf(label, sizeof label, "%zu %s", number, name);
  CALLGRIND_ZERO_STATS;
  repeat(what, &path, plan);
  CALLGRIND_DUMP_STATS_AT(label);
  return {codegen_calls, codegen_asked, path.mappings, path.bytes};
}

}  // namespace

/// Ends with 1 if a generic function and the one by hand did not do the same.
int main() {
  bool same = true;
  for (std::size_t i = 0; i != map_pairs.size(); ++i) std::printf("%zu %s\n", i, map_pairs[i].name);
  for (std::size_t i = 0; i != map_pairs.size(); ++i) {
    map_pair const& pair = map_pairs[i];
    const deeds mapped = count(pair.by_hand.map, i, "map by_hand");
    const deeds unmapped = count(pair.by_hand.unmap, i, "unmap by_hand");
    same = count(pair.generic.map, i, "map generic") == mapped && same;
    same = count(pair.generic.unmap, i, "unmap generic") == unmapped && same;
    std::printf("%zu map %ju system calls\n%zu unmap %ju system calls\n", i,
                std::uintmax_t{mapped.calls}, i, std::uintmax_t{unmapped.calls});
  }
  if (!same) std::puts("generic code and the code by hand did not do the same");
  return same ? 0 : 1;
}
