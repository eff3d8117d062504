// SPDX-License-Identifier: BSL-1.0
// ACPI tables, as few as a stock kernel needs to find its processors, its virtio-mmio devices and
// how to power off: RSDP -> XSDT -> FADT (hardware-reduced) -> DSDT, and the MADT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

/// A virtio-mmio device that the guest shall find: its registers (4 KiB) and its interrupt line.
struct mmio_slot {
  std::uint32_t address;
  std::uint8_t line;
};

/// The port that a guest writes to power off (ACPI's sleep control register).
inline constexpr std::uint16_t sleep_port = 0x604;

namespace aml {

using bytes = std::string;

template <class Number>
[[nodiscard]] bytes little_endian(Number number) {
  bytes out;
  for (std::size_t at = 0; at < sizeof number; ++at)
    out += static_cast<char>(number >> (8 * at) & 0xff);
  return out;
}
/// A package length counts its own bytes.
[[nodiscard]] inline bytes with_length(bytes const& body) {
  if (body.size() + 1 < 64) return static_cast<char>(body.size() + 1) + body;
  const std::size_t all = body.size() + 2;
  return bytes{static_cast<char>(0x40 | (all & 0xf)), static_cast<char>(all >> 4)} + body;
}
[[nodiscard]] inline bytes name(std::string_view segment, bytes const& value) {
  return bytes{"\x08"}.append(segment) + value;
}
[[nodiscard]] inline bytes number(std::uint8_t value) {
  return bytes{'\x0a', static_cast<char>(value)};
}

/// Device (VIRn) { _HID "LNRO0005", _UID n, _CRS { Memory32Fixed, Interrupt (edge) } }
[[nodiscard]] inline bytes virtio_device(std::uint8_t which, mmio_slot const& where) {
  bytes resources = bytes{"\x86\x09\x00\x01", 4} + little_endian(where.address) +
                    little_endian(std::uint32_t{0x1000});
  resources += bytes{"\x89\x06\x00\x03\x01", 5} + little_endian(std::uint32_t{where.line});
  resources += bytes{"\x79\x00", 2};
  const bytes buffer =
      bytes{"\x11"} + with_length(number(static_cast<std::uint8_t>(resources.size())) + resources);
  return bytes{"\x5b\x82"} + with_length(bytes{"VIR"} + static_cast<char>('0' + which) +
                                  name("_HID", bytes{"\x0dLNRO0005", 10}) +
                                  name("_UID", number(which)) + name("_CRS", buffer));
}

}  // namespace aml

/// Writes the tables to `into`, which the guest sees at `at`; the RSDP comes first.
/// Requires: 4 KiB are enough for them: fewer than 20 devices, 64 processors.
inline void write_acpi_tables(std::span<std::byte> into, std::uint64_t at,
                              std::span<mmio_slot const> devices, std::uint32_t processors) {
  using aml::bytes;
  using aml::little_endian;
  std::size_t used = 64;
  const auto put = [&](bytes const& what, std::size_t where) {
    for (std::size_t i = 0; i < what.size(); ++i) into[where + i] = static_cast<std::byte>(what[i]);
  };
  const auto sum = [](std::string_view of) {
    std::uint8_t all = 0;
    for (const char one : of)
      all = static_cast<std::uint8_t>(all + static_cast<unsigned char>(one));
    return static_cast<char>(0x100 - all);
  };
  /// Adds the header to a table, and places it. Answers where.
  const auto table = [&](std::string_view signature, std::uint8_t revision, bytes const& body) {
    bytes all = bytes{signature} + little_endian(static_cast<std::uint32_t>(36 + body.size())) +
                static_cast<char>(revision) + '\0' + "TETHERTETHERVM" +
                little_endian(std::uint32_t{1}) + "TETH" + little_endian(std::uint32_t{1}) + body;
    all[9] = sum(all);
    const std::uint64_t placed = at + used;
    put(all, used);
    used += (all.size() + 15) / 16 * 16;
    return placed;
  };

  bytes found;
  for (std::size_t one = 0; one < devices.size(); ++one)
    found += aml::virtio_device(static_cast<std::uint8_t>(one), devices[one]);
  // \_S5 { 5 }: the sleep type that powers off
  const bytes power_off = aml::name("_S5_", "\x12" + aml::with_length("\x01" + aml::number(5)));
  const auto dsdt = table("DSDT", 2, power_off + "\x10" + aml::with_length("\\_SB_" + found));

  bytes fadt(276 - 36, '\0');
  const auto set = [&](std::size_t offset, bytes const& value) {
    fadt.replace(offset - 36, value.size(), value);
  };
  set(112, little_endian(std::uint32_t{1} << 20));  // hardware-reduced
  set(131, "\x05");                                 // minor version
  set(140, little_endian(dsdt));
  // sleep control and sleep status: a byte at an I/O port
  const bytes port = bytes{"\x01\x08\x00\x01", 4} + little_endian(std::uint64_t{sleep_port});
  set(244, port);
  set(256, port);
  const auto fixed = table("FACP", 6, fadt);

  bytes madt = little_endian(std::uint32_t{0xfee00000}) + little_endian(std::uint32_t{0});
  for (std::uint32_t one = 0; one < processors; ++one) {
    madt += bytes{"\x00\x08", 2} + static_cast<char>(one) + static_cast<char>(one) +
            little_endian(std::uint32_t{1});
  }
  madt += bytes{"\x01\x0c\x00\x00", 4} + little_endian(std::uint32_t{0xfec00000}) +
          little_endian(std::uint32_t{0});
  const auto interrupts = table("APIC", 5, madt);

  const auto roots = table("XSDT", 1, little_endian(fixed) + little_endian(interrupts));
  bytes root = bytes{"RSD PTR "} + '\0' + "TETHER" + '\x02' + little_endian(std::uint32_t{0}) +
               little_endian(std::uint32_t{36}) + little_endian(roots) + '\0' + bytes(3, '\0');
  root[8] = sum(std::string_view{root}.substr(0, 20));
  root[32] = sum(root);
  put(root, 0);
}

}  // namespace vmm
