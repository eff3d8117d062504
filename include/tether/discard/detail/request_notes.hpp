// SPDX-License-Identifier: BSL-1.0
// What one inflate request must remember of the host pages that it names frames of, until it ends:
// how many of its frames were reported as partial, in case the page becomes complete, and which
// pages it has discarded, in case it names a frame twice.
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/discard/detail/page_group.hpp>
#include <tether/fwd.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory_resource>

namespace tether::detail {

/// A host page of one block, by the number of the block's records, which no other block's have.
struct page_key {
  std::uint64_t records = 0;
  std::uint64_t page = 0;
  friend constexpr auto operator<=>(page_key const&, page_key const&) noexcept = default;
};

/// What a request knows of a page that it has not discarded.
struct page_in_request {
  static constexpr std::size_t not_queued = std::numeric_limits<std::size_t>::max();

  page_key key{};
  partial_page page{};              ///< valid in the batch in which the request named a frame of it
  std::uint64_t pending = 0;        ///< frames that were reported as partial
  std::size_t queued = not_queued;  ///< index in the batch, once complete
  unit_source* units = nullptr;     ///< if it is a unit of divided memory
};

/// Belongs to one request, on its stack. Not thread-safe. Cost: a note for each incomplete page
/// that the request names, and a bit for each that it has discarded.
class request_notes {
 public:
  explicit request_notes(std::pmr::memory_resource* memory) noexcept
      : pages_{memory}, discarded_{memory} {}

  /// The note of a page, made if there is none; null if out of memory. Valid until `note_discarded`
  /// for it.
  [[nodiscard]] page_in_request* at(page_key key, partial_page page) noexcept {
    TETHER_TRY {
      page_in_request& note = pages_.try_emplace(key).first->second;
      note.key = key;
      note.page = page;
      return &note;
    }
    TETHER_CATCH(...) { return nullptr; }
  }

  /// Whether the request has discarded the page, as far as there was memory to note it.
  [[nodiscard]] bool has_discarded(page_key key) const noexcept {
    const auto found = discarded_.find({key.records, key.page / 64});
    return found != discarded_.end() && (found->second >> (key.page % 64) & 1) != 0;
  }
  /// Ends the note. Without memory for the bit, a frame that is named again is discarded again.
  void note_discarded(page_in_request const& note) noexcept {
    const page_key key = note.key;
    pages_.erase(key);
    TETHER_TRY { discarded_[{key.records, key.page / 64}] |= std::uint64_t{1} << (key.page % 64); }
    TETHER_CATCH(...) {}
  }

  /// How many pages have a note.
  [[nodiscard]] std::size_t size() const noexcept { return pages_.size(); }

 private:
  std::pmr::map<page_key, page_in_request> pages_;
  std::pmr::map<page_key, std::uint64_t> discarded_;  // for 64 pages each
};

}  // namespace tether::detail
