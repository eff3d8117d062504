// SPDX-License-Identifier: BSL-1.0
// Any backend, watched: every operation is written into a journal, can be made to fail there, and can
// be preceded and followed by a hook. For tests of containers, users' own backends included.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/journal.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace tether {

/// A backend that does what `Backend` does and writes it down. It pins, attaches, counts and opens exactly as that does.
///
///     journal book;
///     recording<software_iommu> iommu{book};
///     book.fail_at(operation::map, 2, error{"map", errc::over_budget});
template <class Backend>
class recording {
 public:
  static constexpr bool pins = Backend::pins;
  static constexpr attach_unit unit = Backend::unit;
  using group_type = typename Backend::group_type;
  using joined_group = typename Backend::joined_group;
  using device_type = typename Backend::device_type;
  using kernel_type = kernel_of<Backend>;

  /// Keeps a journal of its own, reached through `log()`. Fails: may throw `std::bad_alloc`.
  recording()
    requires std::default_initializable<Backend>
      : recording{Backend{}} {}
  explicit recording(Backend watched) : own_{std::make_unique<journal>()}, journal_{own_.get()}, watched_{std::move(watched)} {}
  /// Writes into `book`. Requires: `book` outlives this.
  explicit recording(journal& book)
    requires std::default_initializable<Backend>
      : journal_{&book} {}
  recording(journal& book, Backend watched) noexcept : journal_{&book}, watched_{std::move(watched)} {}

  /// The journal it writes into. Ensures: the reference stays good when this is moved.
  [[nodiscard]] journal& log() const noexcept { return *journal_; }
  [[nodiscard]] Backend& watched() noexcept { return watched_; }
  [[nodiscard]] Backend const& watched() const noexcept { return watched_; }

  [[nodiscard]] result<void> map(mapping const& what) noexcept {
    return journal_->record<result<void>>(operation::map, what.where, {}, [&]() noexcept { return watched_.map(what); });
  }
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    return journal_->record<result<void>>(operation::unmap, where, {}, [&]() noexcept { return watched_.unmap(where); });
  }

  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return watched_.page_sizes(); }
  [[nodiscard]] std::span<extent<io_address> const> usable_iova() const noexcept { return watched_.usable_iova(); }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept { return watched_.free_mappings(); }

  [[nodiscard]] result<joined_group> join(group_type const& group) noexcept {
    return journal_->record<result<joined_group>>(operation::join, std::nullopt, group.name(),
                                                  [&]() noexcept { return watched_.join(group); });
  }
  [[nodiscard]] result<void> leave(joined_group& joined) noexcept {
    return journal_->record<result<void>>(operation::leave, std::nullopt, name_of_handle(joined),
                                          [&]() noexcept { return watched_.leave(joined); });
  }

  [[nodiscard]] result<pin_class> classify(joined_group& joined, std::string_view name) noexcept { return watched_.classify(joined, name); }
  [[nodiscard]] result<device_type> open(joined_group& joined, std::string_view name) noexcept {
    return journal_->record<result<device_type>>(operation::open, std::nullopt, name,
                                                 [&]() noexcept { return watched_.open(joined, name); });
  }
  [[nodiscard]] result<void> close(device_type& device) noexcept {
    return journal_->record<result<void>>(operation::close, std::nullopt, name_of_handle(device),
                                          [&]() noexcept { return watched_.close(device); });
  }

  [[nodiscard]] result<void> quiesce() noexcept {
    return journal_->record<result<void>>(operation::quiesce, std::nullopt, {}, [&]() noexcept { return watched_.quiesce(); });
  }
  [[nodiscard]] result<void> abandon() noexcept {
    return journal_->record<result<void>>(operation::abandon, std::nullopt, {}, [&]() noexcept { return watched_.abandon(); });
  }

 private:
  template <class Handle>
  [[nodiscard]] static std::string_view name_of_handle(Handle const& handle) noexcept {
    if constexpr (named<Handle>) return handle.name();
    else return {};
  }

  std::unique_ptr<journal> own_;
  journal* journal_;
  Backend watched_;
};

}  // namespace tether
