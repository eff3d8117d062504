// SPDX-License-Identifier: BSL-1.0
// What a backend is: the part of a container that speaks to one kind of IOMMU. VFIO's words are used
// throughout: a *container* is one I/O address space; a *group* is the smallest set of devices that the
// IOMMU can tell apart; a *device* is opened out of its group. Here one backend object is one container.
#pragma once

#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>

namespace tether {

/// The names that a group description and a device answer to.
template <class T>
concept named = requires(T const& it) {
  { it.name() } noexcept -> std::convertible_to<std::string_view>;
};

/// Maps and unmaps. Laws: `map` either maps all or leaves nothing behind (it says so with
/// `error::stuck()` otherwise); `unmap` is given whole mappings, one or many without a gap, and returns
/// only when the device can no longer reach them and every pin is gone.
template <class B>
concept maps_memory = requires(B& backend, mapping const& what, extent<io_address> where) {
  { backend.map(what) } noexcept -> std::same_as<result<void>>;
  { backend.unmap(where) } noexcept -> std::same_as<result<void>>;
};

/// Tells what it can map now. Laws: read again after every join and leave, never cached across one.
/// `usable_iova` is sorted, disjoint, and its neighbours are never to be joined; `free_mappings` counts
/// what may be mapped beside what is mapped now.
template <class B>
concept has_limits = requires(B const& backend) {
  { backend.page_sizes() } noexcept -> std::same_as<page_sizes>;
  { backend.usable_iova() } noexcept -> std::convertible_to<std::span<extent<io_address> const>>;
  { backend.free_mappings() } noexcept -> std::same_as<std::uint64_t>;
};

/// Takes groups in and lets them go. Laws: `join` may pin everything that is mapped (a *pin point*), and
/// on failure has left nothing behind; `leave` of a group that is not the last one unmaps nothing.
template <class B>
concept takes_groups = named<typename B::group_type> && std::movable<typename B::joined_group> &&
                       requires(B& backend, typename B::group_type const& group, typename B::joined_group& joined) {
                         { backend.join(group) } noexcept -> std::same_as<result<typename B::joined_group>>;
                         { backend.leave(joined) } noexcept -> std::same_as<result<void>>;
                       };

/// Opens devices out of a joined group. Laws: `classify` touches nothing; `close` ends all DMA of the device.
template <class B>
concept opens_devices =
    std::movable<typename B::device_type> &&
    requires(B& backend, typename B::joined_group& joined, std::string_view name, typename B::device_type& device) {
      { backend.classify(joined, name) } noexcept -> std::same_as<result<pin_class>>;
      { backend.open(joined, name) } noexcept -> std::same_as<result<typename B::device_type>>;
      { backend.close(device) } noexcept -> std::same_as<result<void>>;
    };

/// Takes devices in one by one. `endpoint_type::group` names what the IOMMU cannot tell apart (sysfs' iommu_group).
/// Laws: `classify` touches nothing; `open` and `bind` let nothing be pinned; `join` may pin everything that is mapped (a *pin
/// point*), and on failure has left nothing behind; after `leave` the device reaches nothing; `close` takes `bind` back.
template <class B>
concept attaches_devices =
    named<typename B::endpoint_type> && std::movable<typename B::device_type> &&
    requires(B& backend, typename B::endpoint_type const& endpoint, typename B::device_type& device) {
      { endpoint.group() } noexcept -> std::convertible_to<std::string_view>;
      { backend.classify(endpoint) } noexcept -> std::same_as<result<pin_class>>;
      { backend.open(endpoint) } noexcept -> std::same_as<result<typename B::device_type>>;
      { backend.bind(device) } noexcept -> std::same_as<result<void>>;
      { backend.join(device) } noexcept -> std::same_as<result<void>>;
      { backend.leave(device) } noexcept -> std::same_as<result<void>>;
      { backend.close(device) } noexcept -> std::same_as<result<void>>;
    };

/// Optional: tells how a single device pins by what was opened, whatever its endpoint was taken for: a node can be exchanged between the
/// look and the open. One that agreed to discards is closed again if it turns out to pin. Laws: asked after `open`, before `bind`.
template <class B>
concept looks_again = requires(B& backend, typename B::device_type const& device) {
  { backend.classify(device) } noexcept -> std::same_as<pin_class>;
};

/// Optional: maps shared file memory by its file, so that the file's own pages are pinned, whoever maps it where. Laws: as `map`.
template <class B>
concept maps_files = requires(B& backend, mapping const& what, file_source from) {
  { backend.map(what, from) } noexcept -> std::same_as<result<void>>;
};

/// Optional: tells whether what has joined now pins all that is mapped (law 1). Laws: told anew after every join and leave.
template <class B>
concept tells_who_pins = requires(B const& backend) {
  { backend.pins_now() } noexcept -> std::same_as<bool>;
};

/// Waits until no DMA that the backend knows of is in flight (law 5).
template <class B>
concept quiesces = requires(B& backend) {
  { backend.quiesce() } noexcept -> std::same_as<result<void>>;
};

/// Lets go of the kernel object itself, whatever state it is in: what is left to a container whose undo
/// failed (law 6). Laws: after success nothing is mapped, joined or pinned, and that is *known*, not hoped;
/// on failure it says what still stands in the way, and may be called again. Where it closes devices to get there, closing one of
/// them afterwards answers `stale_handle`.
template <class B>
concept can_be_abandoned = requires(B& backend) {
  { backend.abandon() } noexcept -> std::same_as<result<void>>;
};

/// Says at compile time whether it can pin at all, and what it attaches.
template <class B>
concept declares_itself = requires {
  requires std::same_as<decltype(B::pins), const bool>;
  requires std::same_as<decltype(B::unit), const attach_unit>;
};

/// What its unit demands of it: groups and their devices, or devices alone.
template <class B>
concept attaches_groups = B::unit == attach_unit::group && takes_groups<B> && opens_devices<B>;
template <class B>
concept attaches_single_devices = B::unit == attach_unit::device && attaches_devices<B>;

/// Optional: KVM's VFIO device can be told of what it attaches, by descriptor, before it pins (law 4). A group joins in
/// two steps then: `acquire` opens it, `join(acquired)` sets its container; `join(group)` is both in one.
template <class B>
concept known_to_kvm =
    (B::unit == attach_unit::device && requires(typename B::device_type const& device) {
      { B::kvm_file(device) } noexcept -> std::same_as<int>;
    }) || (B::unit == attach_unit::group && requires(B& backend, typename B::group_type const& group, typename B::joined_group& joined) {
      { backend.acquire(group) } noexcept -> std::same_as<result<typename B::joined_group>>;
      { backend.join(joined) } noexcept -> std::same_as<result<void>>;
      { B::kvm_file(joined) } noexcept -> std::same_as<int>;
    });

/// A backend.
/// Minimal: the members of the atoms above that its `unit` demands, all `noexcept`: rollback runs through them.
/// Laws: `test/laws/backend.hpp`, instantiated for every model.
/// Models: `vfio_type1`, `iommufd`, `io_uring_buffers`, `software_iommu`, `recording<Backend>`.
template <class B>
concept backend = declares_itself<B> && maps_memory<B> && has_limits<B> && (attaches_groups<B> || attaches_single_devices<B>) &&
                  quiesces<B> && can_be_abandoned<B>;

/// A device that can be told to move bytes itself. Laws: each access is translated by the container's
/// mappings, and refused where they do not allow it; nothing is moved then.
template <class D>
concept dma_engine = requires(D& device, io_address at, std::span<std::byte> into, std::span<std::byte const> from) {
  { device.dma_read(at, into) } -> std::same_as<result<void>>;   ///< the device reads memory
  { device.dma_write(at, from) } -> std::same_as<result<void>>;  ///< the device writes memory
};

}  // namespace tether
