// SPDX-License-Identifier: BSL-1.0
// What a benchmark needs and does not get ends its race, with the error's sentence.
#pragma once

#include <racing/race.hpp>

#include <tether/core/error.hpp>

#include <string>
#include <type_traits>
#include <utility>

namespace bench {

template <class T>
T must(tether::result<T> answer) {
  if (!answer) throw cannot_run{std::string{answer.error().sentence().c_str()}};
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

}  // namespace bench
