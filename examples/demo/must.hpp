// SPDX-License-Identifier: BSL-1.0
// A story is of no use without all of its steps: the first failure ends it, with the error's own
// sentence.
#pragma once

#include <tether/core/error.hpp>

#include <stdexcept>
#include <type_traits>
#include <utility>

namespace demo {

/// Something that the story cannot go on without has failed.
struct story_ended : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The value. Fails: throws `story_ended`.
template <class T>
T must(tether::result<T> answer) {
  if (!answer) throw story_ended{answer.error().sentence()};
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

}  // namespace demo
