// SPDX-License-Identifier: BSL-1.0
// Writes a sentence on standard error, about something that has a name, and allocates nothing: what
// it tells of may be that memory is short.
#pragma once

#include <tether/core/detail/quoted.hpp>

#include <cstdio>
#include <string_view>

namespace tether::detail {

/// Takes what a string takes.
struct standard_error {
  void operator+=(char one) const noexcept { std::fputc(one, stderr); }
  void operator+=(std::string_view text) const noexcept {
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
};

/// Prints "tether: ", `sentence`, and `who`, in brackets, unless it is empty; with it the name that
/// it is `shown_as`, unless that is empty.
[[gnu::cold, gnu::noinline]] inline void say(const char* sentence, std::string_view who,
                                             std::string_view shown_as = {}) noexcept {
  std::fputs("tether: ", stderr);
  std::fputs(sentence, stderr);
  if (!who.empty()) {
    standard_error to;
    std::fputs(" (", stderr);
    append_quoted(to, who);
    if (!shown_as.empty()) {
      std::fputs(", shown as ", stderr);
      append_quoted(to, shown_as);
    }
    std::fputc(')', stderr);
  }
  std::fputc('\n', stderr);
}

}  // namespace tether::detail
