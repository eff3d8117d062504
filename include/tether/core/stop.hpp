// SPDX-License-Identifier: BSL-1.0
// Fatal misuse that would otherwise corrupt memory: one sentence on standard error, then abort,
// in every build type. Everything else is a `result`.
#pragma once

#include <tether/core/detail/quoted.hpp>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace tether {

namespace detail {

/// Takes what a string takes, without an allocation.
struct standard_error {
  void operator+=(char one) const noexcept { std::fputc(one, stderr); }
  void operator+=(std::string_view text) const noexcept {
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
};

}  // namespace detail

/// Prints `sentence` and aborts. Only where continuing would be unsafe: a count below zero, a
/// commit inside a commit, memory freed while a device can reach it.
[[noreturn, gnu::cold, gnu::noinline]] inline void stop(const char* sentence) noexcept {
  std::fputs("tether: ", stderr);
  std::fputs(sentence, stderr);
  std::fputc('\n', stderr);
  std::abort();
}
/// The same, about `who`: a name, which follows in brackets; none if it is empty.
[[noreturn, gnu::cold, gnu::noinline]] inline void stop(const char* sentence,
                                                        std::string_view who) noexcept {
  if (who.empty()) stop(sentence);
  std::fprintf(stderr, "tether: %s (", sentence);
  detail::standard_error to;
  detail::append_quoted(to, who);
  std::fputs(")\n", stderr);
  std::abort();
}

}  // namespace tether
