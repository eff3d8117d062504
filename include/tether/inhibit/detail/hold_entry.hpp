// SPDX-License-Identifier: BSL-1.0
// One entry in the gate's list of holders: a name and a count. The list is intrusive, so taking a
// hold never allocates and never fails for lack of memory.
#pragma once

#include <tether/core/stop.hpp>
#include <tether/inhibit/kinds.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tether {

/// What an entry counts: holds, requirements or suspensions, and of which kind.
enum class holding : std::uint8_t { any_hold, uncoordinated_hold, any_requirement, coordinated_requirement, suspension };

[[nodiscard]] constexpr holding as_holding(hold_kind kind) noexcept {
  return kind == hold_kind::any ? holding::any_hold : holding::uncoordinated_hold;
}
[[nodiscard]] constexpr holding as_holding(requirement_kind kind) noexcept {
  return kind == requirement_kind::any ? holding::any_requirement : holding::coordinated_requirement;
}
[[nodiscard]] constexpr const char* name_of(holding what) noexcept {
  switch (what) {
    case holding::any_hold: return "any hold";
    case holding::uncoordinated_hold: return "uncoordinated hold";
    case holding::any_requirement: return "any requirement";
    case holding::coordinated_requirement: return "coordinated requirement";
    case holding::suspension: return "suspension";
  }
  return "";
}

/// What `discard_gate::for_each_holder` reports of an entry: who, what, how many.
struct holder_info {
  std::string_view name;
  holding what;
  std::uint32_t count;
};

/// An entry of the intrusive list. Not movable, because the list points to it; starts unlisted with
/// a count of zero. Only the gate changes the count.
class holder {
 public:
  /// `name` is truncated to 47 bytes.
  explicit constexpr holder(std::string_view name) noexcept {
    const std::size_t length = name.size() < name_.size() - 1 ? name.size() : name_.size() - 1;
    for (std::size_t i = 0; i < length; ++i) name_[i] = name[i];
  }
  holder(holder const&) = delete;
  holder& operator=(holder const&) = delete;
  /// Requires: its count is zero. Otherwise the gate would go on counting it, and its list would
  /// hold a dangling pointer.
  constexpr ~holder() {
    if (count_ != 0) stop("tether[I14]: an entry of a gate's list was destroyed while it counted: what it holds must be given back first");
  }

  [[nodiscard]] constexpr std::string_view name() const noexcept { return name_.data(); }
  [[nodiscard]] constexpr std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] constexpr holding what() const noexcept { return what_; }

 private:
  friend class ledger;

  std::array<char, 48> name_{};
  holder* next_ = nullptr;
  holder** link_ = nullptr;  // the pointer that points here; both are valid only while it is listed
  std::uint32_t count_ = 0;
  holding what_ = holding::any_hold;
};

}  // namespace tether
