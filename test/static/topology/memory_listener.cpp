// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/memory_listener.hpp>

namespace {

using namespace tether;

struct whole {
  void begin(commit_kind) noexcept {}
  void remove(section const&) noexcept {}
  void add(section const&) noexcept {}
  result<void> commit() noexcept { return {}; }
};
static_assert(memory_listener<whole>);

struct may_throw : whole {
  void add(section const&) {}
};
static_assert(!memory_listener<may_throw>, "an undo runs through it");

struct says_nothing : whole {
  void commit() noexcept {}
};
static_assert(!memory_listener<says_nothing>, "it must be able to refuse");

struct cannot_remove {
  void begin(commit_kind) noexcept {}
  void add(section const&) noexcept {}
  result<void> commit() noexcept { return {}; }
};
static_assert(!memory_listener<cannot_remove>);

}  // namespace
