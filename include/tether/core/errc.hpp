// SPDX-License-Identifier: BSL-1.0
// tether's own causes, beside the kernel's errno values: a `std::error_code` carries either.
#pragma once

#include <tether/version.hpp>

#include <string>
#include <system_error>

namespace tether {

/// Causes that tether finds itself, before or without asking the kernel.
enum class errc {
  invalid_extent = 1,  ///< empty, or wraps past the end of its space
  not_aligned,         ///< not a multiple of the page it must be a multiple of
  not_congruent,       ///< guest and host address differ within a page, so no page can map both
  past_the_end,        ///< reaches past the end of the memory behind it
  overlaps,            ///< something is mapped or placed there already
  outside_aperture,    ///< the IOMMU cannot translate (all of) it
  over_budget,         ///< more mappings than the container may hold
  cuts_a_mapping,      ///< an unmap would have to split a mapping
  not_mapped,          ///< nothing is mapped there
  access_denied,       ///< the mapping does not allow that access
  discards_required,   ///< discards must stay possible (virtio-mem, for example)
  discards_disabled,   ///< a hold inhibits discards
  consent_refused,     ///< the endpoint pins permanently, so it cannot agree to discards
  mixed_group,         ///< devices of one group must all agree to discards, or none
  stale_handle,        ///< what the handle named is gone
  no_such_device,      ///< nothing of that name is there
  already_there,       ///< it is attached or open already
  still_in_use,        ///< something still refers to it
  /// a roll-back failed: the kernel's state may differ from ours, so the container refuses work
  diverged,
  unsupported,           ///< tether, this kernel or this device does not do this
  bad_descriptor,        ///< the file descriptor is not what it was said to be
  granularity_mismatch,  ///< the granularity's block size does not fit this memory or this IOMMU
  byte_count_mismatch,   ///< the kernel unmapped another number of bytes than was mapped
  memory_gone,           ///< the host memory behind the mapping vanished
  unplug_requested,      ///< hot-unplug of the group was requested: it opens no more devices
  other_gate,            ///< another discard_gate guards this memory: its holds would not be seen
  wrong_kind,            ///< the memory is of another kind than it was said to be
};

namespace detail {

/// The sentence of each cause.
struct error_category final : std::error_category {
  [[nodiscard]] const char* name() const noexcept override { return "tether"; }
  [[nodiscard]] std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::invalid_extent:
        return "the extent is empty or wraps past the end of its address space";
      case errc::not_aligned: return "it is not a whole number of pages";
      case errc::not_congruent: return "guest and host address lie differently within their pages";
      case errc::past_the_end: return "it reaches past the end of the memory behind it";
      case errc::overlaps: return "something is there already";
      case errc::outside_aperture: return "the IOMMU cannot translate all of it";
      case errc::over_budget: return "it takes more mappings than the container may hold";
      case errc::cuts_a_mapping: return "it would cut a mapping in two";
      case errc::not_mapped: return "nothing is mapped there";
      case errc::access_denied: return "the mapping does not allow that access";
      case errc::discards_required: return "someone requires that discards stay possible";
      case errc::discards_disabled: return "someone holds discards down";
      case errc::consent_refused:
        return "tether[O1]: this endpoint pins memory for good and cannot agree to discards";
      case errc::mixed_group:
        return "the devices of a group must all agree to discards, or none of them";
      case errc::stale_handle: return "what the handle named is gone";
      case errc::no_such_device: return "there is nothing of that name";
      case errc::already_there: return "it is there already";
      case errc::still_in_use: return "it is still in use";
      case errc::diverged:
        return "an earlier rollback failed, so tether and the kernel may disagree";
      case errc::unsupported: return "this is not supported here";
      case errc::bad_descriptor: return "the file descriptor is not what it was said to be";
      case errc::granularity_mismatch: return "the granularity's block size does not fit";
      case errc::byte_count_mismatch:
        return "the kernel unmapped another number of bytes than was mapped";
      case errc::memory_gone: return "the host memory behind it is gone";
      case errc::unplug_requested: return "its unplug has been requested";
      case errc::other_gate:
        return "tether[I7]: another discard_gate guards this memory, and neither sees the other's "
               "holds";
      case errc::wrong_kind: return "the memory is of another kind than it was said to be";
    }
    return "unknown cause";
  }
  /// What a caller that knows the kernel's causes alone may compare with. None is ENOENT or
  /// EDEADLK, by which the library asks what the kernel said.
  [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<errc>(code)) {
      case errc::invalid_extent:
      case errc::not_aligned:
      case errc::not_congruent:
      case errc::past_the_end:
      case errc::cuts_a_mapping:
      case errc::mixed_group:
      case errc::granularity_mismatch:
      case errc::other_gate:
      case errc::wrong_kind: return std::errc::invalid_argument;
      case errc::overlaps:
      case errc::already_there: return std::errc::file_exists;
      case errc::outside_aperture: return std::errc::result_out_of_range;
      case errc::over_budget: return std::errc::no_space_on_device;
      case errc::not_mapped:
      case errc::memory_gone: return std::errc::bad_address;
      case errc::access_denied: return std::errc::permission_denied;
      case errc::consent_refused: return std::errc::operation_not_permitted;
      case errc::discards_required:
      case errc::discards_disabled:
      case errc::still_in_use: return std::errc::device_or_resource_busy;
      case errc::no_such_device:
      case errc::stale_handle:
      case errc::unplug_requested: return std::errc::no_such_device;
      case errc::diverged: return std::errc::state_not_recoverable;
      case errc::unsupported: return std::errc::not_supported;
      case errc::bad_descriptor: return std::errc::bad_file_descriptor;
      case errc::byte_count_mismatch: return std::errc::io_error;
    }
    return {code, *this};
  }
};

inline constinit const error_category the_error_category{};

}  // namespace detail

/// Makes an `errc` comparable with, and assignable to, a `std::error_code`.
[[nodiscard]] inline std::error_code make_error_code(errc cause) noexcept {
  return {static_cast<int>(cause), detail::the_error_category};
}

}  // namespace tether

template <>
struct std::is_error_code_enum<tether::errc> : std::true_type {};
