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
/// The same, about `who`: a name, which follows in brackets, with the name that it is `shown_as`;
/// what is empty is left out.
[[noreturn, gnu::cold, gnu::noinline]] inline void stop(const char* sentence, std::string_view who,
                                                        std::string_view shown_as = {}) noexcept {
  detail::say(sentence, who, shown_as);
  std::abort();
}

}  // namespace tether
