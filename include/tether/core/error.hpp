// SPDX-License-Identifier: BSL-1.0
// What went wrong, where, why and what to do about it, in one value that prints as one sentence:
//
//     map of guest 'ram' at I/O virtual [0x100000, 0x1fffff]: it takes more mappings than the
//     container may hold; use blocks of 65536 bytes or larger
//
// Trivially copyable and allocation-free, so the map path can return it; only printing allocates.
// A name is quoted as in `quoted.hpp`: none ends the line, or passes for a part of the sentence.
#pragma once

#include <tether/core/detail/quoted.hpp>
#include <tether/core/errc.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>
#include <tether/fwd.hpp>  // declares `error`, tagged for the linker

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#if defined(TETHER_STD_EXPECTED)
#include <expected>
#if !defined(__cpp_lib_expected)
#error "TETHER_STD_EXPECTED needs C++23 and a standard library with std::expected"
#endif
#else
#include <tl/expected.hpp>
#endif

namespace tether {

/// One failure. Built where it happens; callers pass it up, and change only what they know better.
class [[nodiscard]] error {
 public:
  /// `operation` says what was tried ("map", "attach"): a string literal, kept by pointer.
  error(const char* operation, std::error_code cause) noexcept
      : operation_{operation}, cause_{cause} {}
  error(const char* operation, errc cause) noexcept : error{operation, make_error_code(cause)} {}
  /// From a failed system call: `number` is the positive errno.
  [[nodiscard]] static error from_errno(const char* operation, int number) noexcept {
    return {operation, std::error_code{number, std::generic_category()}};
  }
  /// From a failed allocation (`std::bad_alloc`).
  [[nodiscard]] static error out_of_memory(const char* operation) noexcept {
    return {operation, std::make_error_code(std::errc::not_enough_memory)};
  }

  /// Adds the extent concerned, in any address space.
  template <class Address>
  [[nodiscard]] error at(extent<Address> where) const noexcept {
    error that = *this;
    that.space_ = Address::lives_in;
    that.first_ = where.first.value;
    that.last_ = where.last.value;
    return that;
  }
  /// Adds the subject: a region, group or device. Cut at 47 bytes, visibly.
  [[nodiscard]] error of(std::string_view subject) const noexcept {
    error that = *this;
    that.subject_ = label{subject};
    return that;
  }
  /// Adds for whom it was tried, where a hold, say, is taken for a group: `take hold for 'nics'`.
  /// Cut at 47 bytes, visibly.
  [[nodiscard]] error on_behalf_of(std::string_view subject) const noexcept {
    error that = of(subject);
    that.on_behalf_ = true;
    return that;
  }
  /// Adds who stands in the way. Cut at 47 bytes, visibly.
  [[nodiscard]] error blocked_by(std::string_view who) const noexcept {
    error that = *this;
    that.blocker_ = label{who};
    return that;
  }
  /// Adds which container refuses, where there are several. Cut at 47 bytes, visibly.
  [[nodiscard]] error in(std::string_view container) const noexcept {
    error that = *this;
    that.container_ = label{container};
    return that;
  }
  /// Adds what to do about it: a string literal, in which `{}` stands for `number`, and `{is|are}`
  /// for the first where that is 1, else for the second.
  [[nodiscard]] error advise(const char* advice, std::uint64_t number = 0) const noexcept {
    error that = *this;
    that.advice_ = advice;
    that.number_ = number;
    return that;
  }
  /// Adds to the number in the advice, up to the largest.
  [[nodiscard]] error with_more(std::uint64_t more) const noexcept {
    error that = *this;
    that.number_ = more > ~number_ ? ~std::uint64_t{0} : number_ + more;
    return that;
  }
  /// Another cause, an errno, that was found for the same failure.
  [[nodiscard]] error because(int number) const noexcept {
    error that = *this;
    that.cause_ = {number, std::generic_category()};
    return that;
  }
  /// Marks that the roll-back failed too: the kernel's state may differ from ours (law 6: *stuck*).
  [[nodiscard]] error with_failed_rollback() const noexcept {
    error that = *this;
    that.rollback_failed_ = true;
    return that;
  }

  /// What was tried, and why it failed.
  [[nodiscard]] const char* operation() const noexcept { return operation_; }
  [[nodiscard]] std::error_code code() const noexcept { return cause_; }
  [[nodiscard]] bool is(errc cause) const noexcept { return cause_ == make_error_code(cause); }
  [[nodiscard]] bool is_errno(int number) const noexcept {
    return cause_ == std::error_code{number, std::generic_category()};
  }
  /// Whether it is *stuck* (law 6): the kernel's state may differ from ours.
  [[nodiscard]] bool rollback_failed() const noexcept { return rollback_failed_; }
  /// The region, group or device concerned, or who was refused; empty if none.
  [[nodiscard]] std::string_view subject() const noexcept { return subject_.view(); }
  /// Who stands in the way; empty if nobody, or nobody in particular.
  [[nodiscard]] std::string_view blocker() const noexcept { return blocker_.view(); }
  /// The container that refuses, by its name, or by what is attached to it; empty if there is none,
  /// or just one that could be meant.
  [[nodiscard]] std::string_view container() const noexcept { return container_.view(); }
  /// The extent concerned, if there is one: its space, first and last byte.
  [[nodiscard]] bool has_extent() const noexcept { return space_ != space::none; }
  [[nodiscard]] space extent_space() const noexcept { return space_; }
  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }
  [[nodiscard]] std::uint64_t last() const noexcept { return last_; }
  /// The number in the advice, 0 if none.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

  /// The whole as one sentence. Cost: allocates. Fails: may throw `std::bad_alloc`.
  [[nodiscard]] std::string sentence() const {
    std::string text = operation_;
    if (!subject().empty())
      detail::append_quoted(text.append(on_behalf_ ? " for " : " of "), subject());
    if (space_ != space::none) {
      std::array<char, 64> where{};
      std::snprintf(where.data(), where.size(), " [0x%llx, 0x%llx]",
                    static_cast<unsigned long long>(first_),
                    static_cast<unsigned long long>(last_));
      text.append(" at ").append(name_of(space_)).append(where.data());
    }
    if (!container().empty()) detail::append_quoted(text.append(" in container "), container());
    append_cause(text.append(": "));
    if (advice_ != nullptr) {
      append_advice(text.append("; "));
    }
    if (rollback_failed_) text.append("; what it had done could not all be rolled back");
    return text;
  }

 private:
  /// With who is in the way: as the one who does it, where the cause is that "someone" does.
  void append_cause(std::string& text) const {
    constexpr std::string_view someone = "someone";
    const std::string cause = cause_.message();
    if (blocker().empty()) {
      text.append(cause);
    } else if (cause.starts_with(someone)) {
      detail::append_quoted(text, blocker());
      text.append(cause, someone.size());
    } else {
      detail::append_quoted(text.append(cause).append(" ("), blocker());
      text.append(" is in the way)");
    }
  }

  void append_advice(std::string& text) const {
    std::string_view rest = advice_;
    for (auto gap = rest.find('{'); gap != rest.npos; gap = rest.find('{')) {
      const auto end = rest.find('}', gap);
      if (end == rest.npos) break;
      const std::string_view words = rest.substr(gap + 1, end - gap - 1);
      const auto bar = words.find('|');
      text.append(rest.substr(0, gap));
      if (words.empty()) text.append(std::to_string(number_));
      else text.append(number_ == 1 ? words.substr(0, bar) : words.substr(bar + 1));
      rest.remove_prefix(end + 1);
    }
    text.append(rest);
  }

  const char* operation_;
  std::error_code cause_;
  const char* advice_ = nullptr;
  std::uint64_t number_ = 0;
  std::uint64_t first_ = 0;
  std::uint64_t last_ = 0;
  space space_ = space::none;
  bool rollback_failed_ = false;
  bool on_behalf_ = false;
  label subject_{};
  label blocker_{};
  label container_{};
};

/// Writes the error's sentence. Cost, Fails: as `sentence`.
template <template <class, class> class Stream, class Char, class Traits>
  requires requires(Stream<Char, Traits>& to) { to << ""; }
Stream<Char, Traits>& operator<<(Stream<Char, Traits>& to, error const& why) {
  to << why.sentence().c_str();
  return to;
}

static_assert(std::is_trivially_copyable_v<error>);

namespace detail {
#if defined(TETHER_STD_EXPECTED)
namespace expected_of = ::std;
#else
namespace expected_of = ::tl;
#endif
}  // namespace detail

/// A value or an error. The same type with every `-std`: `tl::expected`, or `std::expected` where a
/// program, the whole of it, is compiled with TETHER_STD_EXPECTED.
template <class T = void>
using result = detail::expected_of::expected<T, error>;

/// Makes a failed result: `return failure(error{...});`
[[nodiscard]] inline detail::expected_of::unexpected<error> failure(error why) noexcept {
  return detail::expected_of::unexpected<error>{why};
}

}  // namespace tether
