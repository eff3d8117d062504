// SPDX-License-Identifier: BSL-1.0
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace exhaustive_edit_generation {

namespace {

// The argument of topology/detail/edit_generation.hpp, tried in every interleaving of its steps,
// each an atomic operation: two address spaces show one block, and each edits it twice, away and
// back; two readers of the first space look a frame up and note it, or use the note that is there.
// Between the view that a note was made by and the view that it is used by, no edit of that space
// may lie.

enum class wrong {
  nothing,
  number_after_publishing,
  ends_before_publishing,
  reader_asks_no_edit,
  reader_asks_no_view,
  number_before_count
};

struct world {
  std::uint64_t number = 1;
  std::uint64_t last = 1;
  int under_way = 0;
  std::array<int, 2> view{};  // how many edits each space has published

  struct writer {
    int step = 0;
    auto operator<=>(writer const&) const = default;
  };
  struct reader {
    int step = 0;
    int view = 0;
    std::uint64_t number = 0;
    bool refused = false;
    auto operator<=>(reader const&) const = default;
  };
  std::array<writer, 2> writers{};
  std::array<reader, 2> readers{};
  /// What is noted: by which view of the first space, under which number.
  std::optional<std::pair<int, std::uint64_t>> note;
  bool broken = false;

  auto operator<=>(world const&) const = default;
};

constexpr int steps_of_an_edit = 4;
constexpr int edits = 2;

bool write(world& now, std::size_t space, wrong how) {
  auto& me = now.writers[space];
  if (me.step == steps_of_an_edit * edits) return false;
  enum { count, draw, publish, end };
  std::array<int, steps_of_an_edit> order{count, draw, publish, end};
  if (how == wrong::number_after_publishing) order = {count, publish, end, draw};
  if (how == wrong::ends_before_publishing) order = {count, draw, end, publish};
  if (how == wrong::number_before_count) order = {draw, count, publish, end};
  switch (order[static_cast<std::size_t>(me.step % steps_of_an_edit)]) {
    case count: now.under_way += 1; break;
    case draw: now.number = ++now.last; break;
    case publish: now.view[space] += 1; break;
    case end: now.under_way -= 1; break;
  }
  me.step += 1;
  return true;
}

/// One reader: view, number, under way, published, and then it notes under the number, or uses the
/// note that is there under it.
bool read(world& now, std::size_t which, wrong how) {
  auto& me = now.readers[which];
  switch (me.step) {
    case 0: me.view = now.view[0]; break;
    case 1: me.number = now.number; break;
    case 2: me.refused = now.under_way != 0 && how != wrong::reader_asks_no_edit; break;
    case 3:
      me.refused = me.refused || (now.view[0] != me.view && how != wrong::reader_asks_no_view);
      break;
    case 4:
      if (me.refused) break;
      if (!now.note || now.note->second != me.number) now.note = {me.view, me.number};
      // given by one view, used by another, and edited in between
      else if (now.note->first != me.view) now.broken = true;
      break;
    default: return false;
  }
  me.step += 1;
  return true;
}

struct explored {
  std::size_t states = 0;
  bool broken = false;
  bool used = false;  // a note was met that may be used: else nothing is shown
};
explored explore(wrong how) {
  std::set<world> seen;
  std::vector<world> open{world{}};
  explored all;
  while (!open.empty() && !all.broken) {
    const world now = open.back();
    open.pop_back();
    if (!seen.insert(now).second) continue;
    all.broken = all.broken || now.broken;
    all.used =
        all.used || (now.note && std::ranges::all_of(now.readers, [&](auto const& one) {
                       return one.step == 5 && !one.refused && one.number == now.note->second;
                     }));
    for (std::size_t i = 0; i < 2; ++i) {
      if (world next = now; write(next, i, how)) open.push_back(next);
      if (world next = now; read(next, i, how)) open.push_back(next);
    }
  }
  all.states = seen.size();
  return all;
}

}  // namespace

TEST_CASE(
    "in every interleaving of two writers and two readers no note is used under another view than "
    "it was made by") {
  const auto right = explore(wrong::nothing);
  CHECK_FALSE(right.broken);
  CHECK(right.used);
  CHECK(right.states > 10'000);
  for (const wrong how :
       {wrong::number_after_publishing, wrong::ends_before_publishing, wrong::reader_asks_no_edit,
        wrong::reader_asks_no_view, wrong::number_before_count}) {
    CAPTURE(static_cast<int>(how));
    CHECK(explore(how).broken);
  }
}

}  // namespace exhaustive_edit_generation
