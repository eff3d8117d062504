// SPDX-License-Identifier: BSL-1.0
// A region: a value that describes what a user places at a guest address. Once it is placed, the
// address space keeps its own record of it, and that record keeps the memory from being freed.
#pragma once

#include <tether/core/label.hpp>
#include <tether/topology/detail/memory_window.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/section.hpp>

#include <tether/core/address.hpp>

#include <cstdint>
#include <memory>
#include <string_view>

namespace tether {

/// Made by one of the functions below, refined by the fluent ones:
/// `region::ram(block).named("below 4 GiB").unmergeable()`. Units: bytes. Nothing here fails or
/// allocates: what does not fit is refused where it is placed. It refers to the block weakly, also
/// after a move; once the block is freed or replaced, the region is refused as a stale handle.
class region {
 public:
  /// Memory that guest and devices read and write: all of the block, or `size` bytes of it from
  /// `first`.
  [[nodiscard]] static region ram(ram_block& block) noexcept { return {region_kind::ram, block}; }
  [[nodiscard]] static region ram(ram_block& block, block_offset first,
                                  std::uint64_t size) noexcept {
    return {region_kind::ram, block, first, size};
  }
  /// Memory that the guest only reads; devices may only read it either.
  [[nodiscard]] static region rom(ram_block& block) noexcept { return {region_kind::rom, block}; }
  [[nodiscard]] static region rom(ram_block& block, block_offset first,
                                  std::uint64_t size) noexcept {
    return {region_kind::rom, block, first, size};
  }
  /// Another device's BAR: the block borrows its mapping.
  [[nodiscard]] static region ram_device(ram_block& block) noexcept {
    return {region_kind::ram_device, block};
  }
  [[nodiscard]] static region ram_device(ram_block& block, block_offset first,
                                         std::uint64_t size) noexcept {
    return {region_kind::ram_device, block, first, size};
  }
  /// An emulated device's registers: no memory behind it; it hides what lies below.
  [[nodiscard]] static region mmio(std::string_view name, std::uint64_t size) noexcept {
    return {region_kind::mmio, name, size};
  }
  /// Addresses that a virtual IOMMU translates.
  [[nodiscard]] static region iommu_window(std::string_view name, std::uint64_t size) noexcept {
    return {region_kind::iommu_window, name, size};
  }

  /// Another name than the block's. Cut at 47 bytes.
  [[nodiscard]] region named(std::string_view name) const noexcept {
    region that = *this;
    that.name_ = name;
    return that;
  }
  /// Guest and devices may only read it.
  [[nodiscard]] region read_only(bool on = true) const noexcept {
    region that = *this;
    that.read_only_ = on;
    return that;
  }
  /// Never merged with a neighbour, so that growing the neighbour does not unmap it.
  [[nodiscard]] region unmergeable(bool on = true) const noexcept {
    region that = *this;
    that.unmergeable_ = on;
    return that;
  }
  /// It hides no other memory, and none hides it: to place, move or enable memory so that this one
  /// and another overlap is refused (`overlaps`), whatever the priorities.
  [[nodiscard]] region exclusive(bool on = true) const noexcept {
    region that = *this;
    that.exclusive_ = on;
    return that;
  }
  /// Writes to it are logged. Changes no section.
  [[nodiscard]] region dirty_log(bool on = true) const noexcept {
    region that = *this;
    that.dirty_log_ = on;
    return that;
  }

  /// What it is.
  [[nodiscard]] region_kind kind() const noexcept { return kind_; }
  /// Null for mmio and iommu_window, and for a block that was freed or moved from. Valid until the
  /// block is freed.
  [[nodiscard]] memory_backing* memory() const noexcept {
    const auto window = window_.lock();
    return window ? window->memory.get() : nullptr;
  }
  /// A scoped reference to the memory; empty if `memory()` is null.
  [[nodiscard]] detail::memory_reference reference() const noexcept {
    return detail::memory_reference{window_.lock()};
  }
  /// The offset of its first byte in the memory, which for a shared file is the whole file.
  [[nodiscard]] block_offset offset() const noexcept { return block_begins_ + offset_.value; }
  /// Whether it lies within its block.
  [[nodiscard]] bool fits_its_block() const noexcept {
    return offset_.value < block_size_ && block_size_ - offset_.value >= size_;
  }
  /// Bytes; 0 if there is no block.
  [[nodiscard]] std::uint64_t block_size() const noexcept { return block_size_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] label const& name() const noexcept { return name_; }
  [[nodiscard]] bool is_read_only() const noexcept { return read_only_; }
  [[nodiscard]] bool is_unmergeable() const noexcept { return unmergeable_; }
  [[nodiscard]] bool has_dirty_log() const noexcept { return dirty_log_; }
  [[nodiscard]] bool is_exclusive() const noexcept { return exclusive_; }
  /// Whether it can be placed as it is: RAM needs a block that may be written.
  [[nodiscard]] bool suits_its_block() const noexcept {
    return block_writable_ || kind_ == region_kind::rom || read_only_;
  }
  /// Whether its block may be written: its descriptor is open for that.
  [[nodiscard]] bool block_is_writable() const noexcept { return block_writable_; }
  /// Whether regions of this kind have memory at all.
  [[nodiscard]] bool needs_memory() const noexcept {
    return kind_ != region_kind::mmio && kind_ != region_kind::iommu_window;
  }

 private:
  region(region_kind kind, std::string_view name, std::uint64_t size) noexcept
      : size_{size}, kind_{kind}, name_{name} {}
  region(region_kind kind, ram_block& block) noexcept : kind_{kind} {
    if (!block) return;
    window_ = block.window_;
    block_begins_ = block.first();
    block_size_ = block.size();
    size_ = block.size();
    block_writable_ = block.writable();
    name_ = block.name();
  }
  region(region_kind kind, ram_block& block, block_offset first, std::uint64_t size) noexcept
      : region{kind, block} {
    offset_ = first;
    size_ = size;
  }

  std::weak_ptr<detail::memory_window const> window_{};
  block_offset block_begins_{};
  std::uint64_t block_size_ = 0;
  block_offset offset_{};  ///< counted from the block's beginning
  std::uint64_t size_ = 0;
  region_kind kind_;
  bool read_only_ = false;
  bool unmergeable_ = false;
  bool dirty_log_ = false;
  bool exclusive_ = false;
  bool block_writable_ = true;
  label name_;
};

/// Identifies a placed region. Never reused for another one.
struct region_id {
  std::uint64_t value = 0;  ///< 0: none
  friend constexpr bool operator==(region_id, region_id) noexcept = default;
};

}  // namespace tether

/// A region's number as a key.
template <>
struct std::hash<tether::region_id> {
  /// Its hash.
  [[nodiscard]] constexpr std::size_t operator()(tether::region_id id) const noexcept {
    return static_cast<std::size_t>(id.value);
  }
};
