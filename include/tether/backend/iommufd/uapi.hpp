// SPDX-License-Identifier: BSL-1.0
// The uapi of iommufd and of VFIO's device nodes, byte for byte: linux/iommufd.h is newer than the
// headers of a stable distribution, so its structs and ioctl numbers are repeated here under names
// of our own. test/static compares them with the real ones.
#pragma once

#include <tether/version.hpp>

#include <linux/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace tether::detail::iommufd_uapi {

/// An ioctl and the type of its argument. The first member is always the struct's own size: a
/// kernel that knows a longer struct takes the rest as zero, one that knows a shorter struct
/// requires the rest to be zero (else E2BIG). ENOTTY: the kernel has no such ioctl.
template <class Arguments>
struct request {
  using arguments = Arguments;
  unsigned long number;
};

/// Destroys an object. EBUSY while something refers to it.
struct object {
  std::uint32_t size = sizeof(object);
  std::uint32_t id = 0;
};
inline constexpr request<object> destroy{_IO(';', 0x80)};

/// Allocates an I/O address space (IOAS); the kernel fills in its id.
struct new_ioas {
  std::uint32_t size = sizeof(new_ioas);
  std::uint32_t flags = 0;
  std::uint32_t ioas = 0;
};
inline constexpr request<new_ioas> allocate_ioas{_IO(';', 0x81)};

/// Maps what is mapped at `from_iova` of another IOAS, sharing its pinned pages.
struct shared_mapping {
  std::uint32_t size = sizeof(shared_mapping);
  std::uint32_t flags = 0;
  std::uint32_t to_ioas = 0;
  std::uint32_t from_ioas = 0;
  std::uint64_t length = 0;
  std::uint64_t to_iova = 0;
  std::uint64_t from_iova = 0;
};
inline constexpr request<shared_mapping> copy{_IO(';', 0x83)};

/// A range of addresses that the IOMMUs can translate. Both ends inclusive.
struct iova_range {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};
/// The limits of an IOAS. `count` is the capacity of `ranges` (a pointer to `iova_range`); the
/// kernel sets it to the number of ranges. EMSGSIZE if they do not fit.
struct iova_limits {
  std::uint32_t size = sizeof(iova_limits);
  std::uint32_t ioas = 0;
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
  std::uint64_t ranges = 0;
  std::uint64_t alignment = 0;
};
inline constexpr request<iova_limits> read_limits{_IO(';', 0x84)};

/// The flags of `memory_mapping`, `file_mapping` and `shared_mapping`.
inline constexpr std::uint32_t at_this_iova = 1U << 0;
inline constexpr std::uint32_t device_may_write = 1U << 1;
inline constexpr std::uint32_t device_may_read = 1U << 2;

/// Maps memory of this process at an IOVA.
struct memory_mapping {
  std::uint32_t size = sizeof(memory_mapping);
  std::uint32_t flags = 0;
  std::uint32_t ioas = 0;
  std::uint32_t reserved = 0;
  std::uint64_t host = 0;
  std::uint64_t length = 0;
  std::uint64_t iova = 0;
};
inline constexpr request<memory_mapping> map{_IO(';', 0x85)};

/// The kernel sets `length` to the bytes that it unmapped. {0, 2^64-1} means everything.
struct unmapping {
  std::uint32_t size = sizeof(unmapping);
  std::uint32_t ioas = 0;
  std::uint64_t iova = 0;
  std::uint64_t length = 0;
};
inline constexpr request<unmapping> unmap{_IO(';', 0x86)};

/// One of the two options below, read or set.
struct option {
  std::uint32_t size = sizeof(option);
  std::uint32_t which = 0;
  std::uint16_t operation = 0;
  std::uint16_t reserved = 0;
  std::uint32_t object = 0;
  std::uint64_t value = 0;
};
inline constexpr request<option> set_option{_IO(';', 0x87)};
/// An option of the whole context; needs CAP_SYS_RESOURCE; EBUSY once it has objects.
inline constexpr std::uint32_t locked_memory_by_process = 0;
/// An option of one address space; EINVAL to turn off once something is mapped.
inline constexpr std::uint32_t huge_pages = 1;
inline constexpr std::uint16_t operation_set = 0;
inline constexpr std::uint16_t operation_get = 1;

/// Allocates a page table (HWPT) for one kind of IOMMU, filled with all that is mapped in `ioas`.
/// Since Linux 6.6.
struct new_page_table {
  std::uint32_t size = sizeof(new_page_table);
  std::uint32_t flags = 0;
  std::uint32_t device = 0;
  std::uint32_t ioas = 0;
  std::uint32_t page_table = 0;
  std::uint32_t reserved = 0;
  std::uint32_t data_type = 0;
  std::uint32_t data_length = 0;
  std::uint64_t data = 0;
  std::uint32_t fault_queue = 0;
  std::uint32_t reserved_too = 0;
};
inline constexpr request<new_page_table> allocate_page_table{_IO(';', 0x89)};

/// As `memory_mapping`, from a memfd or a file of tmpfs or hugetlbfs. Since Linux 6.13.
struct file_mapping {
  std::uint32_t size = sizeof(file_mapping);
  std::uint32_t flags = 0;
  std::uint32_t ioas = 0;
  std::int32_t file = -1;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t iova = 0;
};
inline constexpr request<file_mapping> map_file{_IO(';', 0x8f)};

/// Binds a device to a context; the kernel fills in its id there. This and the next two are ioctls
/// of the device's own node (cdev). Since Linux 6.6.
struct device_binding {
  std::uint32_t size = sizeof(device_binding);
  std::uint32_t flags = 0;
  std::int32_t iommufd = -1;
  std::uint32_t device = 0;
};
inline constexpr request<device_binding> bind_device{_IO(';', 100 + 18)};
/// The same, longer: with the token of a PCI device, `token` being a pointer to its 16 bytes. A
/// kernel before 6.17 knows no such flag: EINVAL.
struct device_binding_with_token {
  device_binding plain{.size = sizeof(device_binding_with_token), .flags = has_token};
  std::uint64_t token = 0;
  static constexpr std::uint32_t has_token = 1U << 0;
};
inline constexpr request<device_binding_with_token> bind_device_with_token{_IO(';', 100 + 18)};

/// `page_table` is the id of an HWPT or of an IOAS; the kernel sets it to the HWPT in use.
struct device_attachment {
  std::uint32_t size = sizeof(device_attachment);
  std::uint32_t flags = 0;
  std::uint32_t page_table = 0;
};
inline constexpr request<device_attachment> attach_device{_IO(';', 100 + 19)};

/// Blocks its DMA until it is attached again.
struct device_detachment {
  std::uint32_t size = sizeof(device_detachment);
  std::uint32_t flags = 0;
};
inline constexpr request<device_detachment> detach_device{_IO(';', 100 + 20)};

static_assert(sizeof(object) == 8 && sizeof(new_ioas) == 12 && sizeof(iova_range) == 16 &&
              sizeof(iova_limits) == 32);
static_assert(sizeof(memory_mapping) == 40 && sizeof(file_mapping) == 40 &&
              sizeof(shared_mapping) == 40 && sizeof(unmapping) == 24);
static_assert(sizeof(option) == 24 && sizeof(new_page_table) == 48);
static_assert(sizeof(device_binding_with_token) == 24 &&
              offsetof(device_binding_with_token, token) == 16);
static_assert(sizeof(device_binding) == 16 && sizeof(device_attachment) == 12 &&
              sizeof(device_detachment) == 8);
static_assert(offsetof(memory_mapping, host) == 16 && offsetof(file_mapping, offset) == 16 &&
              offsetof(shared_mapping, length) == 16);
static_assert(offsetof(iova_limits, ranges) == 16 && offsetof(unmapping, iova) == 8 &&
              offsetof(option, value) == 16);
static_assert(offsetof(new_page_table, data) == 32 && offsetof(new_page_table, page_table) == 16);

}  // namespace tether::detail::iommufd_uapi
