// SPDX-License-Identifier: BSL-1.0
// Sections in ascending order, each with the owner that keeps it alive: what the chunks of a view
// are made of.
#pragma once

#include <tether/topology/detail/section_owner_pointer.hpp>
#include <tether/topology/section.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace tether::detail {

/// Sections in ascending order, and the owner of each.
struct section_run {
  std::vector<section> sections;
  std::vector<section_owner_pointer> owners;

  [[nodiscard]] std::size_t size() const noexcept { return sections.size(); }
  /// Grows both before it changes either, so a failure leaves them equally long.
  void append(section const& one, section_owner_pointer owner) {
    sections.reserve(grown(sections));
    owners.reserve(grown(owners));
    sections.push_back(one);
    owners.push_back(std::move(owner));
  }
  /// Leaves the first `count`. Requires: there are as many.
  void truncate(std::size_t count) noexcept {
    sections.erase(sections.begin() + static_cast<std::ptrdiff_t>(count), sections.end());
    owners.erase(owners.begin() + static_cast<std::ptrdiff_t>(count), owners.end());
  }
  /// Requires: `at < size()`.
  void erase(std::size_t at) noexcept {
    sections.erase(sections.begin() + static_cast<std::ptrdiff_t>(at));
    owners.erase(owners.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void clear() noexcept {
    sections.clear();
    owners.clear();
  }

 private:
  template <class Vector>
  static std::size_t grown(Vector const& vector) noexcept {
    return vector.size() < vector.capacity() ? vector.capacity() : vector.capacity() * 2 + 8;
  }
};

}  // namespace tether::detail
