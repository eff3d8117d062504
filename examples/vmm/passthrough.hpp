// SPDX-License-Identifier: BSL-1.0
// Devices that the guest drives by itself, as the rest of the monitor sees them: whichever
// container of tether is behind this (products.cpp).
#pragma once

#include "kvm.hpp"
#include "sentence.hpp"

#include <tether/core/error.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/audited.hpp>
#include <tether/listen/mapped_usage.hpp>
#include <tether/topology/address_space.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace vmm {

class passthrough {
 public:
  /// Where the guest finds the registers (BAR 0) of the n-th device: there is no PCI bus.
  static constexpr std::uint64_t first_window = 0xd1000000;
  static constexpr std::uint64_t window_bytes = 16 * MiB;
  static constexpr std::uint64_t windows = 8;

  virtual ~passthrough() = default;
  /// Attaches a device by its PCI address; answers where its registers are.
  /// Fails, changing nothing: what tether says.
  virtual tether::result<std::uint64_t> attach(std::string_view address) = 0;
  virtual tether::result<void> detach(std::string_view address) = 0;
  [[nodiscard]] virtual tether::mapped_usage usage() const = 0;
  /// Whether somebody's registers are at `address`. Any thread, also while devices come and go.
  virtual bool read(std::uint64_t address, std::span<std::byte> into) = 0;
  virtual bool write(std::uint64_t address, std::span<std::byte const> from) = 0;
  /// Compares every page that a device sees with the guest's own.
  virtual tether::result<tether::audit_report> audit() = 0;
};

/// What a user chooses; the words are those of the command line.
struct choices {
  std::string backend = "vfio_type1";
  std::string inhibit = "group";
  bool blocks = false;
};

/// With `choices::blocks`: how large they are. Units: bytes.
inline constexpr std::uint64_t block_bytes = 2 * MiB;

/// The container that was chosen. Opens nothing of VFIO yet, but for iommufd's context.
/// Requires: `kvm` outlives it.
/// Fails: what tether says.
tether::result<std::unique_ptr<passthrough>> make_passthrough(choices const& chosen,
                                                              tether::address_space& guest,
                                                              tether::discard_gate<>& gate,
                                                              virtual_machine& kvm);

}  // namespace vmm
