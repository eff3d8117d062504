// SPDX-License-Identifier: BSL-1.0
// A driver that cannot go on ends by an exception, so that what it has started is stopped, unmapped
// and given back on the way out.
#pragma once

#include <tether/core/error.hpp>

#include <stdexcept>
#include <type_traits>
#include <utility>

namespace user_driver {

/// `what()` is the sentence that is printed.
struct cannot : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The value. Fails: throws `cannot` with the error's own sentence.
template <class T>
T must(tether::result<T> answer) {
  if (!answer) throw cannot{answer.error().sentence()};
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

}  // namespace user_driver
