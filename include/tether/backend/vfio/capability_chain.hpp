// SPDX-License-Identifier: BSL-1.0
// How VFIO answers more than fits into a struct: the caller says in `argsz` how much room there is,
// the kernel how much it needs, and behind the struct lies a chain of capabilities. Read as bytes,
// bounds checked at every step: a malformed chain is an error, never a crash.
//
//     | argsz ... cap_offset |..| id version next | ... |..| id version next | ... |
//                       +-------^             +-------------^
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

namespace tether::detail {

/// The `T` at `offset` bytes, or nullopt if it does not fit into `bytes`.
template <class T>
[[nodiscard]] std::optional<T> read_at(std::span<std::byte const> bytes,
                                       std::size_t offset) noexcept {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

/// Walks a chain that begins at `first` (0: none), behind the struct of `behind` bytes, and calls
/// `read(at, header)` for each capability. Each must start after the header of the one before, so
/// every chain ends. Fails: `malformed`, what `read` answers.
template <class Read>
[[nodiscard]] result<void> read_chain(std::span<std::byte const> bytes, std::size_t first,
                                      std::size_t behind, error const& malformed,
                                      Read read) noexcept {
  for (std::size_t at = first; at != 0;) {
    const auto header = read_at<vfio_info_cap_header>(bytes, at);
    if (at < behind || !header) return failure(malformed);
    if (auto done = read(at, *header); !done) return done;
    behind = at + sizeof(vfio_info_cap_header);
    at = header->next;
  }
  return {};
}

/// Asks `question`, whose first member is `argsz`, with room for the usual answer: one call. Where
/// the kernel has more to say it is asked again, with the room that it names. `ask` takes a pointer
/// to it and returns the negative errno. Fails: the kernel's errno and not enough memory, as
/// `operation`; `malformed`.
template <class Question, class Ask>
[[nodiscard]] result<std::vector<std::byte>> ask_with_room(const char* operation,
                                                           Question const& question,
                                                           error const& malformed,
                                                           Ask ask) noexcept {
  TETHER_TRY {
    /// Room for a chain as on most machines, and more than any kernel reports. Units: bytes.
    constexpr std::size_t usual = 256;
    constexpr std::uint32_t largest = 1U << 20;
    std::vector<std::byte> room(sizeof question + usual);
    for (int attempt = 0; attempt < 3; ++attempt) {
      const auto size = static_cast<std::uint32_t>(room.size());
      std::memcpy(room.data(), &question, sizeof question);
      std::memcpy(room.data(), &size, sizeof size);
      if (const auto answer = ask(static_cast<void*>(room.data())); answer < 0)
        return failure(error::from_errno(operation, static_cast<int>(-answer)));
      const auto needed = read_at<std::uint32_t>(room, 0).value_or(0);
      if (needed <= room.size()) return room;
      if (needed > largest) break;
      room.assign(needed, std::byte{});
    }
    return failure(malformed);
  }
  TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory(operation)); }
}

}  // namespace tether::detail
