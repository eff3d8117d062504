// SPDX-License-Identifier: BSL-1.0
// Compares the kind of memory that a user names when lending it with what the kernel has mapped
// there: a discard by the wrong method would keep the pages, or bring old contents back.
#pragma once

#include <tether/topology/detail/mapped_memory.hpp>

#include <tether/core/error.hpp>
#include <tether/core/mapping.hpp>

namespace tether::detail {

/// Fails: `not_mapped`; `wrong_kind`, which says what the memory is and which kind to name;
/// `unsupported` where no single method discards all of it.
[[nodiscard]] inline result<void> check_kind(const char* operation, memory_kind kind,
                                             mapped_memory const& found) noexcept {
  const error wrong{operation, errc::wrong_kind};
  switch (found.what) {
    case mapped_as::nothing:
      return failure(error{operation, errc::not_mapped}.advise("all of it must be mapped"));
    case mapped_as::mixed:
      return failure(wrong.advise("its parts are of several kinds: borrow each by itself"));
    case mapped_as::private_anonymous:
      // A private file mapping that was discarded, perhaps as a whole, looks the same.
      if (kind == memory_kind::private_anonymous || kind == memory_kind::private_file) break;
      return failure(
          wrong.advise("it is private anonymous memory: name memory_kind::private_anonymous"));
    case mapped_as::private_file:
      if (kind != memory_kind::private_file)
        return failure(wrong.advise(
            "it is, or part of it, a private mapping of a file: name memory_kind::private_file"));
      break;
    case mapped_as::shared:
      if (kind != memory_kind::shared)
        return failure(wrong.advise("it is shared memory: name memory_kind::shared"));
      break;
    case mapped_as::huge:
      if (kind != memory_kind::hugetlb)
        return failure(wrong.advise("it has huge pages of {} bytes: name memory_kind::hugetlb",
                                    found.page_size));
      break;
    case mapped_as::huge_private_file:
      return failure(error{operation, errc::unsupported}.advise(
          "it is a private mapping of a file of huge pages: map it shared"));
    case mapped_as::device:
      return failure(wrong.advise("it is a device's memory: name memory_kind::device"));
  }
  if (kind == memory_kind::private_file && !found.one_protection)
    return failure(error{operation, errc::unsupported}.advise(
        "its parts have several protections: give them the same, or borrow each by itself"));
  return {};
}

}  // namespace tether::detail
