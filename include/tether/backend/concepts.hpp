// SPDX-License-Identifier: BSL-1.0
// What a backend is: the part of a container that drives one kind of IOMMU. In VFIO's terms, a
// *container* is one I/O address space; a *group* is the smallest set of devices that the IOMMU can
// isolate; a *device* is opened through its group. One backend object is one container.
#pragma once

#include <tether/backend/endpoint.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tether {

/// Has a name: a group description, an endpoint, a device.
template <class T>
concept named = requires(T const& it) {
  { it.name() } noexcept -> std::convertible_to<std::string_view>;
};

/// Maps and unmaps. Laws: `map` maps all or leaves nothing behind (an error that is
/// `rollback_failed()` says that the rollback failed); `unmap` is given whole mappings, one or
/// several without a gap, and returns only when the device can no longer reach them and every pin
/// is gone.
template <class B>
concept maps_memory = requires(B& backend, mapping const& what, extent<io_address> where) {
  { backend.map(what) } noexcept -> std::same_as<result<void>>;
  { backend.unmap(where) } noexcept -> std::same_as<result<void>>;
};

/// Reports what it can map now. Laws: the caller reads it again after every join and leave, and
/// never caches it across one. `usable_iova` is sorted and disjoint, and adjacent ranges must not
/// be merged; `free_mappings` is how many more mappings fit beside the present ones.
template <class B>
concept has_limits = requires(B const& backend) {
  { backend.page_sizes() } noexcept -> std::same_as<page_sizes>;
  { backend.usable_iova() } noexcept -> std::convertible_to<std::span<extent<io_address> const>>;
  { backend.free_mappings() } noexcept -> std::same_as<std::uint64_t>;
};

/// Attaches and detaches groups. Laws: `join` may pin everything that is mapped (a *pin point*),
/// and on failure leaves nothing behind; `leave` unmaps nothing unless the last group leaves.
template <class B>
concept takes_groups =
    requires {
      typename B::group_type;
      typename B::joined_group;
    } && named<typename B::group_type> && std::movable<typename B::joined_group> &&
    requires(B& backend, typename B::group_type const& group, typename B::joined_group& joined) {
      { backend.join(group) } noexcept -> std::same_as<result<typename B::joined_group>>;
      { backend.leave(joined) } noexcept -> std::same_as<result<void>>;
    };

/// Opens devices of a joined group. Laws: `classify` has no side effects; `close` ends all its DMA.
template <class B>
concept opens_devices =
    requires { typename B::device_type; } && std::movable<typename B::device_type> &&
    requires(B& backend, typename B::joined_group& joined, std::string_view name,
             typename B::device_type& device) {
      { backend.classify(joined, name) } noexcept -> std::same_as<result<pin_class>>;
      { backend.open(joined, name) } noexcept -> std::same_as<result<typename B::device_type>>;
      { backend.close(device) } noexcept -> std::same_as<result<void>>;
    };

/// Attaches devices one by one. `endpoint_type::group` names the IOMMU group (sysfs' iommu_group):
/// devices that the IOMMU cannot isolate from each other.
/// Laws: `classify` has no side effects; `open` and `bind` cause no pinning; `join` may pin
/// everything that is mapped (a *pin point*), and on failure leaves nothing behind; after `leave`
/// the device can reach no memory; `close` also undoes `bind`.
template <class B>
concept attaches_devices =
    requires {
      typename B::endpoint_type;
      typename B::device_type;
    } && named<typename B::endpoint_type> && std::movable<typename B::device_type> &&
    requires(B& backend, typename B::endpoint_type const& endpoint,
             typename B::device_type& device) {
      { endpoint.group() } noexcept -> std::convertible_to<std::string_view>;
      { backend.classify(endpoint) } noexcept -> std::same_as<result<pin_class>>;
      { backend.open(endpoint) } noexcept -> std::same_as<result<typename B::device_type>>;
      { backend.bind(device) } noexcept -> std::same_as<result<void>>;
      { backend.join(device) } noexcept -> std::same_as<result<void>>;
      { backend.leave(device) } noexcept -> std::same_as<result<void>>;
      { backend.close(device) } noexcept -> std::same_as<result<void>>;
    };

/// Optional: how a single device pins, by what was really opened, whatever its endpoint was taken
/// for: a node can be replaced between `classify(endpoint)` and `open`. A device that agreed to
/// discards is closed again if it turns out to pin. Laws: called after `open`, before `bind`.
template <class B>
concept classifies_opened_device = requires(B& backend, typename B::device_type const& device) {
  { backend.classify(device) } noexcept -> std::same_as<pin_class>;
};

/// Optional: maps shared file memory by its file, so that the file's own pages are pinned, no
/// matter which process maps them where. Laws: as `map`.
template <class B>
concept maps_files = requires(B& backend, mapping const& what, file_source from) {
  { backend.map(what, from) } noexcept -> std::same_as<result<void>>;
};

/// Optional: reports whether what has joined now pins everything that is mapped (law 1). Laws: the
/// caller reads it again after every join and leave.
template <class B>
concept reports_pinning = requires(B const& backend) {
  { backend.pins_now() } noexcept -> std::same_as<bool>;
};

/// Optional, `open_may_pin`: opening a device of a group may be a pin point, too, and change the
/// limits. Laws: the caller reads both again after every open and close.
template <class B>
concept may_pin_at_open = requires {
  requires std::same_as<decltype(B::open_may_pin), const bool>;
  requires B::open_may_pin;
};

/// Waits until no DMA that the backend knows of is in flight (law 5).
template <class B>
concept quiesces = requires(B& backend) {
  { backend.quiesce() } noexcept -> std::same_as<result<void>>;
};

/// Releases the kernel object itself, whatever state it is in: the last resort of a container whose
/// rollback failed (law 6). Laws: after success it is *known* that nothing is mapped, joined or
/// pinned; on failure the error says what still stands in the way, and it may be called again. If
/// it has to close devices, a later `close` of one of them returns `stale_handle`.
template <class B>
concept can_be_abandoned = requires(B& backend) {
  { backend.abandon() } noexcept -> std::same_as<result<void>>;
};

/// Optional: tells when a device is used no more by what may outlive its container (a mapped BAR).
/// Laws: false: nothing uses it. True: `who` is told once, when the last use has ended; until then
/// the device cannot be closed, nor the kernel object abandoned. Requires: nobody else has the
/// device any more.
template <class B>
concept tells_when_unused =
    requires(B& backend, typename B::device_type& device, unused_notice& who) {
      { backend.tell_when_unused(device, who) } noexcept -> std::same_as<bool>;
    };

/// Compile-time traits: whether it can pin at all, and what it attaches.
template <class B>
concept has_backend_traits = requires {
  requires std::same_as<decltype(B::pins), const bool>;
  requires std::same_as<decltype(B::unit), const attach_unit>;
};

/// What its `unit` requires of it: groups and their devices, or single devices.
template <class B>
concept attaches_groups = B::unit == attach_unit::group && takes_groups<B> && opens_devices<B>;
template <class B>
concept attaches_single_devices = B::unit == attach_unit::device && attaches_devices<B>;

/// Optional: KVM's VFIO device can be told of what it attaches, by descriptor, before it pins (law
/// 4). A group joins in two steps then: `acquire` opens it, `join(acquired)` sets its container;
/// `join(group)` is both in one.
template <class B>
concept has_kvm_file =
    (B::unit == attach_unit::device &&
     requires(typename B::device_type const& device) {
       { B::kvm_file(device) } noexcept -> std::same_as<int>;
     }) ||
    (B::unit == attach_unit::group &&
     requires(B& backend, typename B::group_type const& group, typename B::joined_group& joined) {
       { backend.acquire(group) } noexcept -> std::same_as<result<typename B::joined_group>>;
       { backend.join(joined) } noexcept -> std::same_as<result<void>>;
       { B::kvm_file(joined) } noexcept -> std::same_as<int>;
     });

/// Optional: finds what is to be attached for an endpoint, so that a container can attach and open
/// it in one step (`container::attach(endpoint)`). Laws: reads nothing that an attach changes: it
/// is called without the container's lock.
template <class B>
concept locates_endpoints =
    (B::unit == attach_unit::group && requires(B const& backend, endpoint const& device) {
      {
        backend.locate(device)
      } noexcept -> std::same_as<result<device_in_group<typename B::group_type>>>;
    }) || (B::unit == attach_unit::device && requires(B const& backend, endpoint const& device) {
      { backend.locate(device) } noexcept -> std::same_as<result<typename B::endpoint_type>>;
    });

/// A backend.
/// Minimal: the members of the atoms above that its `unit` demands, all `noexcept`: rollback runs
/// through them.
/// Laws: `laws/backend.hpp`, instantiated for every model.
/// Models: `vfio_type1`, `iommufd`, `io_uring_buffers`, `software_iommu`, `recording<Backend>`.
template <class B>
concept backend =
    has_backend_traits<B> && maps_memory<B> && has_limits<B> &&
    (attaches_groups<B> || attaches_single_devices<B>) && quiesces<B> && can_be_abandoned<B>;

/// A buffer of the program's own that is mapped: where the program sees it, and where devices do.
struct buffer_place {
  extent<host_address> host{};  ///< where this process sees it
  io_address first{};           ///< where devices see its first byte

  friend constexpr bool operator==(buffer_place const&, buffer_place const&) noexcept = default;

  /// Where devices see it.
  [[nodiscard]] constexpr extent<io_address> where() const noexcept { return host.moved_to(first); }
};

/// Where `mapped_buffers` looks buffers up by host address.
/// Minimal: a class that can be made of nothing and moved, with `block_size` (bytes: a power of
/// two, 1 GiB at most; 1 for any), of which the ends of each buffer are multiples, and the members
/// below, all `noexcept`.
/// Laws: `laws/buffer_lookup.hpp`. `insert` is given a buffer that meets no other, and answers
/// false, changing nothing, where memory is too short; `erase` is given what was inserted;
/// `first_in` is the lowest buffer of which a byte lies there; `find` says whether `bytes` bytes,
/// at least one, lie in one buffer, and writes where devices see the first, or nothing. Several
/// threads may ask while none changes it.
/// Models: `sorted_lookup`, `direct_lookup<Size>`.
template <class L>
concept buffer_lookup =
    std::default_initializable<L> && std::movable<L> &&
    requires {
      requires std::same_as<decltype(L::block_size), const std::uint64_t>;
      requires L::block_size != 0 && L::block_size <= GiB;
      requires((L::block_size & (L::block_size - 1)) == 0);
    } &&
    requires(L& lookup, L const& asked, extent<host_address> host, io_address first,
             std::uint64_t bytes, io_address& found) {
      { lookup.insert(buffer_place{host, first}) } noexcept -> std::same_as<bool>;
      { lookup.erase(buffer_place{host, first}) } noexcept;
      { asked.first_in(host) } noexcept -> std::same_as<std::optional<buffer_place>>;
      { asked.find(host.first, bytes, found) } noexcept -> std::same_as<bool>;
      { asked.size() } noexcept -> std::same_as<std::size_t>;
    };

/// A device whose DMA can be issued from software. Laws: each access is translated by the
/// container's mappings; one that they do not allow is refused, and moves nothing.
template <class D>
concept dma_engine =
    requires(D& device, io_address at, std::span<std::byte> into, std::span<std::byte const> from) {
      { device.dma_read(at, into) } -> std::same_as<result<void>>;   ///< the device reads memory
      { device.dma_write(at, from) } -> std::same_as<result<void>>;  ///< the device writes memory
    };

}  // namespace tether
