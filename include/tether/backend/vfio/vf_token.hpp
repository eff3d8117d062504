// SPDX-License-Identifier: BSL-1.0
// The token that a virtual function (VF) of a PCI device is opened with where its physical function
// (PF) is driven by user space too: the PF's driver sets it, and a process that opens the VF must
// present it, so both trust each other. A UUID.
#pragma once

#include <tether/core/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace tether {

/// A value. Source: VFIO_DEVICE_FEATURE_PCI_VF_TOKEN.
class vf_token {
 public:
  /// From "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3", in either case. Fails: EINVAL.
  [[nodiscard]] static result<vf_token> of(std::string_view uuid) noexcept {
    vf_token made;
    bool well_formed = uuid.size() == made.text_.size();
    std::size_t digits = 0;
    for (std::size_t i = 0; well_formed && i < uuid.size(); ++i) {
      if (i == 8 || i == 13 || i == 18 || i == 23) {
        well_formed = uuid[i] == '-';
        continue;
      }
      const auto digit = value_of(uuid[i]);
      well_formed = digit < 16;
      auto& byte = made.bytes_[digits++ / 2];
      byte = static_cast<std::uint8_t>(byte * 16U + (digit & 15U));
    }
    if (!well_formed) {
      const auto invalid = std::make_error_code(std::errc::invalid_argument);
      return failure(error{"read VF token", invalid}.of(uuid).advise(
          "write a UUID, as 36 characters with four dashes"));
    }
    std::ranges::copy(uuid, made.text_.begin());
    return made;
  }

  /// As a UUID is written.
  [[nodiscard]] std::string_view text() const noexcept { return {text_.data(), text_.size()}; }
  /// In the order in which they are written.
  [[nodiscard]] std::array<std::uint8_t, 16> const& bytes() const noexcept { return bytes_; }

 private:
  vf_token() = default;
  static unsigned value_of(char one) noexcept {
    if (one >= '0' && one <= '9') return static_cast<unsigned>(one - '0');
    if (one >= 'a' && one <= 'f') return static_cast<unsigned>(one - 'a') + 10;
    return one >= 'A' && one <= 'F' ? static_cast<unsigned>(one - 'A') + 10 : 16;
  }

  std::array<char, 36> text_{};
  std::array<std::uint8_t, 16> bytes_{};
};

namespace detail {

/// Why a device could not be opened by its name, with the token that it was given or without one.
[[nodiscard, gnu::cold]] inline error why_not_open(std::string_view name, int number,
                                                   bool with_token) noexcept {
  const auto why = error::from_errno("open device", number).of(name);
  if (number == ENODEV) {
    return error{"open device", errc::no_such_device}.of(name).advise(
        "it is not in this group, or not bound: write vfio-pci to its driver_override, then its "
        "address to drivers/vfio-pci/bind");
  }
  if (number == EACCES) {
    return why.advise(
        with_token ? "it wants another VF token: the one that its physical function was given"
                   : "it wants a VF token, the one that its physical function was given: name it "
                     "with vfio_group::with_token()");
  }
  if (number == EINVAL && with_token) {
    return why.advise(
        "it wants no VF token, because no physical function of it is bound to vfio-pci");
  }
  return why;
}

}  // namespace detail
}  // namespace tether
