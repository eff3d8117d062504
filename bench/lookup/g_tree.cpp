// SPDX-License-Identifier: BSL-1.0
// GLib's balanced tree with intervals as keys, which is how QEMU's iova-tree keeps them: a key is
// equal to every key that it overlaps, and an address is looked up as an interval of one byte.
#include <lookup/lookup.hpp>

#include <glib.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace {

int compare(gconstpointer left, gconstpointer right, gpointer) {
  auto const& a = *static_cast<lookup::interval const*>(left);
  auto const& b = *static_cast<lookup::interval const*>(right);
  if (a.last < b.first) return -1;
  return b.last < a.first ? 1 : 0;
}

struct unref {
  void operator()(GTree* tree) const { g_tree_unref(tree); }
};

struct g_tree {
  std::unique_ptr<GTree, unref> tree{g_tree_new_full(compare, nullptr, g_free, nullptr)};

  explicit g_tree(std::vector<lookup::interval> const& all) {
    for (auto const& one : all) {
      auto* const key = g_new(lookup::interval, 1);  // each interval in memory of its own
      *key = one;
      g_tree_insert(tree.get(), key, key);
    }
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    const lookup::interval byte{at, at, 0};
    auto const* const found =
        static_cast<lookup::interval const*>(g_tree_lookup(tree.get(), &byte));
    return found == nullptr ? 0 : found->host + (at - found->first);
  }
};

const bench::side<lookup::subject> entered{"GTree (QEMU)", lookup::looks_up<g_tree>};

}  // namespace
