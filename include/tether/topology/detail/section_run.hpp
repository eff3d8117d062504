// SPDX-License-Identifier: BSL-1.0
// Sections in ascending order, each with the owner that keeps it alive: a chunk of a view, and
// what a view is built from.
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
  /// Appends `count` sections of another run from `begin` on, with their owners.
  void append(section_run const& other, std::size_t begin, std::size_t count) {
    const auto from = static_cast<std::ptrdiff_t>(begin);
    const auto to = static_cast<std::ptrdiff_t>(begin + count);
    sections.reserve(sections.size() + count);
    owners.reserve(owners.size() + count);
    sections.insert(sections.end(), other.sections.begin() + from, other.sections.begin() + to);
    owners.insert(owners.end(), other.owners.begin() + from, other.owners.begin() + to);
  }
  void reserve(std::size_t count) {
    sections.reserve(count);
    owners.reserve(count);
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
