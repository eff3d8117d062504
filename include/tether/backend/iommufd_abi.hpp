// SPDX-License-Identifier: BSL-1.0
// What iommufd and VFIO's device nodes are asked, byte for byte: linux/iommufd.h is younger than the headers that a stable
// distribution has, so the structs and numbers stand here under names of our own. test/static compares them with the real ones.
#pragma once

#include <linux/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace tether::iommufd_abi {

/// A request, and what it is asked with. The first member is always the struct's own size: a kernel that knows a longer one takes the
/// rest for zero, one that knows a shorter one wants the rest to be zero (else E2BIG). ENOTTY: the kernel has no such request.
template <class Arguments>
struct request {
  using arguments = Arguments;
  unsigned long number;
};

/// Takes an object away. EBUSY while something refers to it.
struct object {
  std::uint32_t size = sizeof(object);
  std::uint32_t id = 0;
};
inline constexpr request<object> destroy{_IO(';', 0x80)};

/// An I/O address space; its id is answered.
struct new_ioas {
  std::uint32_t size = sizeof(new_ioas);
  std::uint32_t flags = 0;
  std::uint32_t ioas = 0;
};
inline constexpr request<new_ioas> allocate_ioas{_IO(';', 0x81)};

/// Shares what is mapped at `from_iova` of another address space, pinned pages and all.
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

/// Both ends inclusive.
struct iova_range {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};
/// `count` says how much room `ranges` (a pointer to `iova_range`) has, and is answered with how many there are; EMSGSIZE if too many.
struct iova_limits {
  std::uint32_t size = sizeof(iova_limits);
  std::uint32_t ioas = 0;
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
  std::uint64_t ranges = 0;
  std::uint64_t alignment = 0;
};
inline constexpr request<iova_limits> read_limits{_IO(';', 0x84)};

/// For `memory_mapping`, `file_mapping` and `shared_mapping`.
inline constexpr std::uint32_t at_this_iova = 1U << 0;
inline constexpr std::uint32_t device_may_write = 1U << 1;
inline constexpr std::uint32_t device_may_read = 1U << 2;

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

/// `length` is answered with what was unmapped. {0, 2^64-1} means everything.
struct unmapping {
  std::uint32_t size = sizeof(unmapping);
  std::uint32_t ioas = 0;
  std::uint64_t iova = 0;
  std::uint64_t length = 0;
};
inline constexpr request<unmapping> unmap{_IO(';', 0x86)};

/// One of the two below, read or set.
struct option {
  std::uint32_t size = sizeof(option);
  std::uint32_t which = 0;
  std::uint16_t operation = 0;
  std::uint16_t reserved = 0;
  std::uint32_t object = 0;
  std::uint64_t value = 0;
};
inline constexpr request<option> set_option{_IO(';', 0x87)};
inline constexpr std::uint32_t locked_memory_by_process = 0;  ///< of the whole context; needs CAP_SYS_RESOURCE; EBUSY once it has objects
inline constexpr std::uint32_t huge_pages = 1;                ///< of one address space; EINVAL to turn off once something is mapped
inline constexpr std::uint16_t operation_set = 0;

/// Page tables for one kind of IOMMU, filled with all that is mapped in `ioas`. Since Linux 6.6.
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

/// Asked of a device's own node, these three. Since Linux 6.6.
struct device_binding {
  std::uint32_t size = sizeof(device_binding);
  std::uint32_t flags = 0;
  std::int32_t iommufd = -1;
  std::uint32_t device = 0;
};
inline constexpr request<device_binding> bind_device{_IO(';', 100 + 18)};

/// `page_table` is that of a page table or of an address space, and is answered with the page table that serves.
struct device_attachment {
  std::uint32_t size = sizeof(device_attachment);
  std::uint32_t flags = 0;
  std::uint32_t page_table = 0;
};
inline constexpr request<device_attachment> attach_device{_IO(';', 100 + 19)};

struct device_detachment {
  std::uint32_t size = sizeof(device_detachment);
  std::uint32_t flags = 0;
};
inline constexpr request<device_detachment> detach_device{_IO(';', 100 + 20)};

static_assert(sizeof(object) == 8 && sizeof(new_ioas) == 12 && sizeof(iova_range) == 16 && sizeof(iova_limits) == 32);
static_assert(sizeof(memory_mapping) == 40 && sizeof(file_mapping) == 40 && sizeof(shared_mapping) == 40 && sizeof(unmapping) == 24);
static_assert(sizeof(option) == 24 && sizeof(new_page_table) == 48);
static_assert(sizeof(device_binding) == 16 && sizeof(device_attachment) == 12 && sizeof(device_detachment) == 8);
static_assert(offsetof(memory_mapping, host) == 16 && offsetof(file_mapping, offset) == 16 && offsetof(shared_mapping, length) == 16);
static_assert(offsetof(iova_limits, ranges) == 16 && offsetof(unmapping, iova) == 8 && offsetof(option, value) == 16);
static_assert(offsetof(new_page_table, data) == 32 && offsetof(new_page_table, page_table) == 16);

}  // namespace tether::iommufd_abi
