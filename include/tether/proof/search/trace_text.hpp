// SPDX-License-Identifier: BSL-1.0
// A counterexample as a sentence. Inside the compiler it is a fixed string, because both compilers
// print one verbatim when it is a template argument; at run time it is the same text.
#pragma once

#include <tether/attach/lifecycle/steps.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/event.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/search/coverage.hpp>

#include <array>
#include <cstddef>
#include <string_view>

namespace tether::proof {

/// Text that can be composed inside the compiler. What does not fit is truncated.
struct sentence {
  static constexpr std::size_t most = 4096;  ///< characters that it can keep
  std::array<char, most> text{};             ///< the first `length` are there
  std::size_t length = 0;                    ///< how many characters

  /// Appends what there is room for.
  constexpr sentence& operator<<(std::string_view more) noexcept {
    for (const char one : more) {
      if (length < most) text[length++] = one;
    }
    return *this;
  }
  /// Appends a number in decimal.
  constexpr sentence& operator<<(std::size_t number) noexcept {
    if (number >= 10) *this << number / 10;
    return *this << std::string_view{"0123456789"}.substr(number % 10, 1);
  }
  /// The text.
  [[nodiscard]] constexpr std::string_view view() const noexcept { return {text.data(), length}; }
  /// The text.
  [[nodiscard]] constexpr operator std::string_view() const noexcept { return view(); }
};

/// What an act is called.
[[nodiscard]] constexpr std::string_view name_of(act what) noexcept {
  constexpr std::array<std::string_view, act_count> names{"refused",
                                                          "judge",
                                                          "take hold",
                                                          "release hold",
                                                          "populate",
                                                          "open its descriptor",
                                                          "close its descriptor",
                                                          "tell KVM",
                                                          "let KVM forget",
                                                          "join container",
                                                          "leave container",
                                                          "map",
                                                          "unmap",
                                                          "open device",
                                                          "bind device",
                                                          "close device",
                                                          "commit"};
  return names[static_cast<std::size_t>(what)];
}
[[nodiscard]] constexpr std::string_view name_of(operation what) noexcept {
  constexpr std::array<std::string_view, operations> names{
      "first attach", "next attach", "open", "close", "next detach", "last detach"};
  return names[static_cast<std::size_t>(what)];
}
[[nodiscard]] constexpr std::string_view name_of(ending how) noexcept {
  constexpr std::array<std::string_view, 4> names{"under way", "finished", "rolled back",
                                                  "diverged"};
  return names[static_cast<std::size_t>(how)];
}
[[nodiscard]] constexpr std::string_view name_of(outcome how) noexcept {
  constexpr std::array<std::string_view, 3> names{"done", "fails", "gets stuck"};
  return names[static_cast<std::size_t>(how)];
}

/// Writes one event. `several`: containers are numbered.
constexpr sentence& describe(sentence& all, event const& one, bool several) noexcept {
  if (one.who == actor::permit) return all << "balloon gets permit";
  if (one.who == actor::discard) return all << "balloon discards";
  if (one.who == actor::guest) return all << "guest touches";
  if (several) all << "container " << std::size_t{one.container} << ": ";
  if (one.who == actor::abandoner) return all << "abandon";
  if (one.who == actor::caller) {
    const bool attaches = one.begins == change::attach || one.begins == change::attach_device;
    const bool opens_or_closes = one.begins == change::open || one.begins == change::close;
    all << (attaches                      ? "attach "
            : one.begins == change::open  ? "open "
            : one.begins == change::close ? "close "
                                          : "detach ");
    if (opens_or_closes || one.begins == change::attach_device ||
        one.begins == change::detach_device) {
      all << (one.agrees == consent::given ? "agreeing device of " : "device of ");
    }
    if (attaches) all << (one.mediated ? "mediated " : "IOMMU-backed ");
  }
  all << "group " << std::size_t{one.group} << ": ";
  if (one.undoing) all << "undo: ";
  all << name_of(one.what);
  if (one.half_way) all << " half of it";
  else if (one.how != outcome::done) all << " " << name_of(one.how);
  return all;
}

/// What is broken, and the events that lead there.
[[nodiscard]] constexpr sentence describe_trace(broken_properties broken, trace const& way,
                                                bool several = false) noexcept {
  sentence all{};
  if (broken == 0) return all;
  all << name_of(first_of(broken));
  if (way.length == 0) return all << " before anything has happened";
  std::string_view between = " after: ";
  for (event const& one : way) {
    describe(all << between, one, several);
    between = "; ";
  }
  return all;
}

/// What a search has not reached.
[[nodiscard]] constexpr sentence describe_trace(coverage const& missing) noexcept {
  sentence all{};
  std::string_view between;
  for (std::size_t what = 0; what < act_count; ++what) {
    for (const outcome how : {outcome::done, outcome::failed, outcome::stuck}) {
      if (!missing.has(static_cast<act>(what), how)) continue;
      all << between << name_of(static_cast<act>(what)) << " " << name_of(how);
      between = "; ";
    }
  }
  for (std::size_t what = 0; what < operations; ++what) {
    for (const ending how : {ending::finished, ending::rolled_back, ending::diverged}) {
      if (!missing.has(static_cast<operation>(what), how)) continue;
      all << between << name_of(static_cast<operation>(what)) << " " << name_of(how);
      between = "; ";
    }
  }
  return all;
}

/// A string that can be a template argument.
template <std::size_t Size>
struct fixed_string {
  char text[Size + 1]{};  ///< zero-terminated

  constexpr fixed_string() noexcept = default;
  /// From a literal.
  constexpr fixed_string(char const (&literal)[Size + 1]) noexcept {
    for (std::size_t i = 0; i < Size; ++i) text[i] = literal[i];
  }
  /// The beginning of a sentence.
  constexpr explicit fixed_string(sentence const& all) noexcept {
    for (std::size_t i = 0; i < Size; ++i) text[i] = all.text[i];
  }
  /// The text.
  [[nodiscard]] constexpr std::string_view view() const noexcept { return {text, Size}; }
};
/// A literal without its terminating zero.
template <std::size_t Size>
fixed_string(char const (&)[Size]) -> fixed_string<Size - 1>;

}  // namespace tether::proof
