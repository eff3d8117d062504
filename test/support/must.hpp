// SPDX-License-Identifier: BSL-1.0
// For steps that a test needs but is not about: they succeed, or the test ends with the error's
// sentence.
#pragma once

#include <tether/core/error.hpp>

#include <doctest/doctest.h>

#include <utility>

namespace tether_test {

template <class T>
[[nodiscard]] T must(tether::result<T> outcome) {
  if (!outcome) FAIL(outcome.error().sentence());
  return std::move(*outcome);
}

inline void must(tether::result<void> outcome) {
  if (!outcome) FAIL(outcome.error().sentence());
}

}  // namespace tether_test
