// SPDX-License-Identifier: BSL-1.0
// Fatal misuse that would otherwise corrupt memory: one sentence on standard error, then abort,
// in every build type. Everything else is a `result`.
#pragma once

#include <tether/core/detail/say.hpp>

#include <cstdlib>
#include <string_view>

namespace tether {

/// Prints `sentence` and aborts. Only where continuing would be unsafe: a count below zero, a
/// commit inside a commit, memory freed while a device can reach it.
[[noreturn, gnu::cold, gnu::noinline]] inline void stop(const char* sentence) noexcept {
  detail::say(sentence, {});
  std::abort();
}
/// The same, about `who`: a name, which follows in brackets; none if it is empty.
[[noreturn, gnu::cold, gnu::noinline]] inline void stop(const char* sentence,
                                                        std::string_view who) noexcept {
  detail::say(sentence, who);
  std::abort();
}

}  // namespace tether
