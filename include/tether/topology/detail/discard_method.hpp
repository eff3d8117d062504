// SPDX-License-Identifier: BSL-1.0
// The system call that gives pages back to the host, for each kind of memory. The wrong one either
// keeps the page (MADV_DONTNEED of a shared file) or brings old contents back (of a private one);
// the table in topology/memory_backing says which is right.
#pragma once

#include <tether/topology/detail/memory_calls.hpp>

#include <tether/core/mapping.hpp>

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <sys/mman.h>

namespace tether::detail {

enum class discard_method : std::uint8_t {
  refuse,           ///< a device's memory
  drop_private,     ///< MADV_DONTNEED
  replace_private,  ///< new anonymous memory, moved over the old
  remove_shared,    ///< MADV_REMOVE
  punch_hole        ///< MADV_REMOVE where it is mapped for writing, else FALLOC_FL_PUNCH_HOLE
};

/// For memory without a file of its own.
[[nodiscard]] constexpr discard_method method_of(memory_kind kind) noexcept {
  switch (kind) {
    case memory_kind::private_anonymous: return discard_method::drop_private;
    case memory_kind::private_file: return discard_method::replace_private;
    case memory_kind::shared: return discard_method::remove_shared;
    case memory_kind::hugetlb: return discard_method::drop_private;
    case memory_kind::device: break;
  }
  return discard_method::refuse;
}

/// The pages of one discard. Units: bytes.
struct discard_target {
  std::uint64_t host;
  std::uint64_t size;
  int protection;             ///< PROT_*, of their mapping
  int descriptor;             ///< -1 without a file
  std::uint64_t file_offset;  ///< where they lie in that file
};

/// Replaces a private file's bytes, and copy-on-write pages, by zeros: mapped elsewhere first, so
/// that a failure keeps the bytes, then moved over them, which is atomic for concurrent accesses.
[[nodiscard]] inline std::int64_t replace_by_zeros(memory_calls const& calls,
                                                   discard_target const& what) noexcept {
  const auto made =
      calls.mmap(what.size, what.protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made < 0) return made;
  const auto zeros = static_cast<std::uint64_t>(made);
  auto answer = calls.madvise(zeros, what.size, MADV_DONTFORK);
  if (answer >= 0) answer = calls.move_mapping(zeros, what.size, what.host);
  if (answer < 0) static_cast<void>(calls.munmap(zeros, what.size));
  return answer;
}

/// Punches a hole into a file, through its mapping: so a userfaultfd handler is told (post-copy),
/// which a punch by descriptor bypasses. What is locked, or mapped for reading only, cannot be
/// punched so. Of what a refused call has punched a second one changes nothing.
[[nodiscard]] inline std::int64_t punch_hole(memory_calls const& calls,
                                             discard_target const& what) noexcept {
  const auto answer = calls.madvise(what.host, what.size, MADV_REMOVE);
  if (answer != -EACCES && answer != -EINVAL) [[likely]]
    return answer;
  return calls.fallocate(what.descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         what.file_offset, what.size);
}

/// Discards the pages; a call that a signal interrupted is repeated. Requires: `what` is whole
/// pages of the memory. Fails: the negative errno.
[[nodiscard]] inline std::int64_t discard_pages(memory_calls const& calls, discard_method how,
                                                discard_target const& what) noexcept {
  std::int64_t answer = -EINTR;
  while (answer == -EINTR) {
    switch (how) {
      case discard_method::drop_private:
        answer = calls.madvise(what.host, what.size, MADV_DONTNEED);
        break;
      case discard_method::replace_private: answer = replace_by_zeros(calls, what); break;
      case discard_method::remove_shared:
        answer = calls.madvise(what.host, what.size, MADV_REMOVE);
        break;
      case discard_method::punch_hole: answer = punch_hole(calls, what); break;
      case discard_method::refuse: return -EOPNOTSUPP;
    }
  }
  return answer;
}

}  // namespace tether::detail
