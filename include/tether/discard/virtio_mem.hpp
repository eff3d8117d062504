// SPDX-License-Identifier: BSL-1.0
// The device side of virtio-mem: the guest plugs and unplugs blocks of a memory region, up to the
// size that the host asks for. A block is a unit of divided memory: it is unmapped in every
// container before it is discarded, and mapped in each before the guest is told that it is plugged.
// Contains no virtio transport: bytes of a request go in, bytes of a response come out.
//
//     region      |####|####|    |####|    |    |    |....|....|
//                   plugged        unplugged (discarded)
//     requested   |------------------>|            the guest plugs or unplugs towards it
#pragma once

#include <tether/discard/detail/virtio_mem_wire.hpp>

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/hold.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/unit_source.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

namespace tether {

/// What a guest is answered. `nack`: it asked for more than the host wants it to have; `busy`: not
/// now, try again; `error`: a request that no driver may make.
enum class virtio_mem_response : std::uint16_t { ack = 0, nack = 1, busy = 2, error = 3 };

/// What became of one request.
struct virtio_mem_outcome {
  virtio_mem_response response = virtio_mem_response::ack;  ///< what the guest is answered
  /// Bytes of the response: the used length. 0: the request was no request of this device (too
  /// short, no room for a response, of an unknown type): set DEVICE_NEEDS_RESET.
  std::size_t written = 0;
  /// Why it was `busy`: the container at work, or what the host lacks.
  std::optional<error> why{};

  /// Whether the guest broke the protocol.
  [[nodiscard]] bool broken() const noexcept { return written == 0; }
};

/// The device's sizes. Units: bytes, multiples of `block_size`.
struct virtio_mem_config {
  std::uint64_t block_size = 0;      ///< bytes
  guest_address first{};             ///< of the region
  std::uint64_t region_size = 0;     ///< bytes
  std::uint64_t usable_size = 0;     ///< of the region; all of it here
  std::uint64_t plugged_size = 0;    ///< bytes
  std::uint64_t requested_size = 0;  ///< bytes

  friend constexpr bool operator==(virtio_mem_config const&,
                                   virtio_mem_config const&) noexcept = default;
};

/// One device. While it lives, discards that are coordinated stay possible: who would forbid all
/// discards (a container that does not map in blocks) is refused, naming it. Thread-safe as far as
/// the gate's `Threading` is.
/// Requires: the gate and the memory outlive it; the memory is placed at its region's address,
/// whole, as RAM.
template <class Threading>
class virtio_mem {
 public:
  /// A device that has nothing plugged: all of the block's memory is discarded. Its blocks are the
  /// units that the block was divided into.
  /// Fails: `unsupported` if the block is not divided; `not_aligned` if it does not begin and end
  /// with units, or `region` is not a multiple of the unit; `discards_disabled`, naming who
  /// inhibits discards; `device_or_resource_busy`; what a container or the kernel says; not enough
  /// memory. Cost: a system call for each unit.
  [[nodiscard]] static result<std::unique_ptr<virtio_mem>> create(
      std::string_view name, ram_block const& block, guest_address region,
      discard_gate<Threading>& gate) noexcept {
    const auto refused = [&](errc why) { return error{"create virtio-mem", why}.of(name); };
    population* const units = block.backing().population();
    if (units == nullptr)
      return failure(refused(errc::unsupported).advise("divide its memory into units first"));
    const std::uint64_t unit = units->unit_size();
    if (!block.first().aligned_to(unit) || block.size() % unit != 0 || !region.aligned_to(unit))
      return failure(refused(errc::not_aligned).advise("use multiples of {} bytes", unit));
    auto required = gate.require(requirement_kind::coordinated, name);
    if (!required) return failure(required.error());
    std::unique_ptr<virtio_mem> device;
    TETHER_TRY { device.reset(new virtio_mem{block, region, gate, std::move(*required), *units}); }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("create virtio-mem").of(name));
    }
    for (std::uint64_t which = 0; which < device->blocks(); ++which) {
      const auto permit = gate.permit(discard_kind::coordinated);
      if (auto gone = device->source_.discard(device->unit_of(which), permit); !gone)
        return failure(gone.error());
    }
    return device;
  }

  virtio_mem(virtio_mem const&) = delete;
  virtio_mem& operator=(virtio_mem const&) = delete;

  /// The configuration space, as of now.
  [[nodiscard]] virtio_mem_config config() const noexcept {
    std::lock_guard lock{mutex_};
    return sizes();
  }
  /// The same as the guest reads it; `node` is the NUMA node, where VIRTIO_MEM_F_ACPI_PXM was
  /// negotiated.
  [[nodiscard]] std::array<std::byte, detail::virtio_mem_config_bytes> config_space(
      std::uint16_t node = 0) const noexcept {
    const virtio_mem_config now = config();
    std::array<std::byte, detail::virtio_mem_config_bytes> wire{};
    const std::span<std::byte> all{wire};
    detail::write_little_endian(all, now.block_size);
    detail::write_little_endian(all.subspan(8), node);
    detail::write_little_endian(all.subspan(16), now.first.value);
    detail::write_little_endian(all.subspan(24), now.region_size);
    detail::write_little_endian(all.subspan(32), now.usable_size);
    detail::write_little_endian(all.subspan(40), now.plugged_size);
    detail::write_little_endian(all.subspan(48), now.requested_size);
    return wire;
  }

  /// Asks the guest to plug or unplug until it has `bytes`. Returns whether that is news: then send
  /// the guest a configuration interrupt.
  /// Fails: `not_aligned` unless it is whole blocks; `past_the_end` of the region.
  [[nodiscard]] result<bool> request_size(std::uint64_t bytes) noexcept {
    std::lock_guard lock{mutex_};
    if (bytes % block_size() != 0)
      return failure(error{"request a size", errc::not_aligned}.advise("use multiples of {} bytes",
                                                                       block_size()));
    if (bytes > region_size_)
      return failure(
          error{"request a size", errc::past_the_end}.advise("it has {} byte{|s}", region_size_));
    return std::exchange(requested_, bytes) != bytes;
  }

  /// Handles one element of the guest's queue: the bytes that the driver wrote, and room for the
  /// response. Complete it to the guest with `written` bytes; nothing of a request that is not
  /// answered with `ack` has happened, but for an unplug of all, of which as much was done as could
  /// be. Whatever a guest sends, only its own blocks are touched.
  /// Cost: for each block of the request one system call, and a map or unmap in each container.
  /// Source: virtio 1.2, 5.15.6.
  virtio_mem_outcome handle(std::span<std::byte const> request,
                            std::span<std::byte> response) noexcept {
    if (request.size() < detail::virtio_mem_request::bytes ||
        response.size() < detail::virtio_mem_response_bytes)
      return {};
    const auto asked = detail::virtio_mem_request::from(request);
    virtio_mem_outcome outcome;
    std::uint16_t state = 0;
    std::lock_guard lock{mutex_};
    switch (static_cast<detail::virtio_mem_type>(asked.type)) {
      case detail::virtio_mem_type::plug: outcome = change(asked, true); break;
      case detail::virtio_mem_type::unplug: outcome = change(asked, false); break;
      case detail::virtio_mem_type::unplug_all: outcome = unplug_all(); break;
      case detail::virtio_mem_type::state: outcome.response = tell_state(asked, state); break;
      default: return {};
    }
    for (std::size_t byte = 0; byte < detail::virtio_mem_response_bytes; ++byte)
      response[byte] = std::byte{0};
    detail::write_little_endian(response, static_cast<std::uint16_t>(outcome.response));
    detail::write_little_endian(response.subspan(8), state);
    outcome.written = detail::virtio_mem_response_bytes;
    return outcome;
  }

  /// The whole machine is reset: everything is unplugged, as far as it can be. (A reset of the
  /// device alone changes nothing.) Fails: why something could not; the guest's driver asks again.
  [[nodiscard]] result<void> reset_system() noexcept {
    std::lock_guard lock{mutex_};
    auto outcome = unplug_all();
    return outcome.why ? result<void>{failure(*outcome.why)} : result<void>{};
  }

 private:
  using response_code = virtio_mem_response;

  virtio_mem(ram_block const& block, guest_address region, discard_gate<Threading>& gate,
             requirement<Threading> required, population& units)
      : gate_{gate},
        required_{std::move(required)},
        source_{units},
        first_unit_{units.unit_at(block.first())},
        region_{region},
        region_size_{block.size()} {}

  [[nodiscard]] std::uint64_t block_size() const noexcept { return source_.units().unit_size(); }
  [[nodiscard]] std::uint64_t blocks() const noexcept { return region_size_ / block_size(); }
  [[nodiscard]] std::uint64_t unit_of(std::uint64_t which) const noexcept {
    return first_unit_ + which;
  }
  [[nodiscard]] bool plugged(std::uint64_t which) const noexcept {
    return !source_.wants_gone(unit_of(which));
  }
  [[nodiscard]] std::uint64_t plugged_size() const noexcept {
    return region_size_ - source_.size() * block_size();
  }
  [[nodiscard]] virtio_mem_config sizes() const noexcept {
    return {.block_size = block_size(),
            .first = region_,
            .region_size = region_size_,
            .usable_size = region_size_,
            .plugged_size = plugged_size(),
            .requested_size = requested_};
  }

  /// Blocks of the region.
  struct run {
    std::uint64_t first;
    std::uint64_t end;
  };
  /// None if a guest may not name them.
  [[nodiscard]] std::optional<run> run_of(detail::virtio_mem_request const& asked) const noexcept {
    if (asked.blocks == 0 || asked.blocks > blocks() || asked.first < region_.value ||
        asked.first % block_size() != 0)  // the region begins with a block
      return std::nullopt;
    const std::uint64_t first = (asked.first - region_.value) / block_size();
    if (first > blocks() - asked.blocks) return std::nullopt;
    return run{first, first + asked.blocks};
  }
  /// How many of them are plugged.
  [[nodiscard]] std::uint64_t count_plugged(run which) const noexcept {
    std::uint64_t count = 0;
    for (std::uint64_t block = which.first; block != which.end; ++block) count += plugged(block);
    return count;
  }

  response_code tell_state(detail::virtio_mem_request const& asked,
                           std::uint16_t& state) const noexcept {
    const auto which = run_of(asked);
    if (!which) return response_code::error;
    const std::uint64_t count = count_plugged(*which);
    state = count == asked.blocks ? 0 : count == 0 ? 1 : 2;  // plugged, unplugged, mixed
    return response_code::ack;
  }

  virtio_mem_outcome change(detail::virtio_mem_request const& asked, bool plug) noexcept {
    const auto which = run_of(asked);
    if (!which) return {.response = response_code::error};
    const std::uint64_t bytes = asked.blocks * block_size();
    if (plug && plugged_size() + bytes > requested_) return {.response = response_code::nack};
    if (count_plugged(*which) != (plug ? 0 : asked.blocks))
      return {.response = response_code::error};
    for (std::uint64_t block = which->first; block != which->end; ++block) {
      auto done = change_block(block, plug);
      if (done) continue;
      // the blocks before it as they were; a unit that was unplugged comes back empty
      while (block-- != which->first) static_cast<void>(change_block(block, !plug));
      return {.response = response_code::busy, .why = done.error()};
    }
    return {};
  }
  result<void> change_block(std::uint64_t block, bool plug) noexcept {
    const auto ask = [this] { return gate_.permit(discard_kind::coordinated); };
    if (!plug) {
      const auto permit = ask();
      return source_.discard(unit_of(block), permit);
    }
    if (gate_.counts().suspensions != 0)
      return failure(error{"plug", errc::discards_disabled}.advise(
          "discards are suspended: what is plugged now could not be unplugged"));
    return source_.populate(unit_of(block), ask);
  }
  virtio_mem_outcome unplug_all() noexcept {
    virtio_mem_outcome outcome;
    for (std::uint64_t block = 0; block != blocks(); ++block) {
      if (!plugged(block)) continue;
      if (auto done = change_block(block, false); !done && !outcome.why) {
        outcome.response = response_code::busy;
        outcome.why = done.error();
      }
    }
    return outcome;
  }

  discard_gate<Threading>& gate_;
  requirement<Threading> required_;
  mutable typename Threading::mutex mutex_;
  unit_source source_;
  std::uint64_t first_unit_;
  guest_address region_;
  std::uint64_t region_size_;
  std::uint64_t requested_ = 0;
};

}  // namespace tether
