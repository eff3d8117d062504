// SPDX-License-Identifier: BSL-1.0
// Each number, offset and width against the real headers, where they are. A real struct may have
// grown: what we send is its beginning.
#include <tether/backend/iommufd/uapi.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <linux/vfio.h>
#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#define TETHER_REAL_IOMMUFD 1
#endif

namespace abi = tether::detail::iommufd_uapi;

// What no header is needed for: the numbers themselves, and that nothing but plain bytes goes to
// the kernel.
static_assert(abi::destroy.number == 0x3b80 && abi::map.number == 0x3b85 &&
              abi::map_file.number == 0x3b8f);
static_assert(abi::bind_device_with_token.number == abi::bind_device.number);
static_assert(abi::bind_device.number == 0x3b76 && abi::attach_device.number == 0x3b77 &&
              abi::detach_device.number == 0x3b78);
static_assert(std::is_trivially_copyable_v<abi::new_page_table> &&
              std::is_standard_layout_v<abi::new_page_table>);

#define TETHER_SAME(ours, member, theirs, their_member)                     \
  static_assert(offsetof(ours, member) == offsetof(theirs, their_member) && \
                sizeof(ours::member) == sizeof(theirs::their_member) &&     \
                std::is_signed_v<decltype(ours::member)> ==                 \
                    std::is_signed_v<decltype(theirs::their_member)>)
#define TETHER_BEGINS(ours, theirs) \
  static_assert(sizeof(ours) <= sizeof(theirs) && alignof(ours) <= alignof(theirs))

#ifdef TETHER_REAL_IOMMUFD
static_assert(abi::destroy.number == IOMMU_DESTROY);
TETHER_BEGINS(abi::object, iommu_destroy);
TETHER_SAME(abi::object, size, iommu_destroy, size);
TETHER_SAME(abi::object, id, iommu_destroy, id);

static_assert(abi::allocate_ioas.number == IOMMU_IOAS_ALLOC);
TETHER_BEGINS(abi::new_ioas, iommu_ioas_alloc);
TETHER_SAME(abi::new_ioas, size, iommu_ioas_alloc, size);
TETHER_SAME(abi::new_ioas, flags, iommu_ioas_alloc, flags);
TETHER_SAME(abi::new_ioas, ioas, iommu_ioas_alloc, out_ioas_id);

static_assert(abi::copy.number == IOMMU_IOAS_COPY);
TETHER_BEGINS(abi::shared_mapping, iommu_ioas_copy);
TETHER_SAME(abi::shared_mapping, size, iommu_ioas_copy, size);
TETHER_SAME(abi::shared_mapping, flags, iommu_ioas_copy, flags);
TETHER_SAME(abi::shared_mapping, to_ioas, iommu_ioas_copy, dst_ioas_id);
TETHER_SAME(abi::shared_mapping, from_ioas, iommu_ioas_copy, src_ioas_id);
TETHER_SAME(abi::shared_mapping, length, iommu_ioas_copy, length);
TETHER_SAME(abi::shared_mapping, to_iova, iommu_ioas_copy, dst_iova);
TETHER_SAME(abi::shared_mapping, from_iova, iommu_ioas_copy, src_iova);

static_assert(abi::read_limits.number == IOMMU_IOAS_IOVA_RANGES);
// elements of an array: these may not grow
static_assert(sizeof(abi::iova_range) == sizeof(iommu_iova_range));
TETHER_SAME(abi::iova_range, first, iommu_iova_range, start);
TETHER_SAME(abi::iova_range, last, iommu_iova_range, last);
TETHER_BEGINS(abi::iova_limits, iommu_ioas_iova_ranges);
TETHER_SAME(abi::iova_limits, size, iommu_ioas_iova_ranges, size);
TETHER_SAME(abi::iova_limits, ioas, iommu_ioas_iova_ranges, ioas_id);
TETHER_SAME(abi::iova_limits, count, iommu_ioas_iova_ranges, num_iovas);
TETHER_SAME(abi::iova_limits, reserved, iommu_ioas_iova_ranges, __reserved);
TETHER_SAME(abi::iova_limits, ranges, iommu_ioas_iova_ranges, allowed_iovas);
TETHER_SAME(abi::iova_limits, alignment, iommu_ioas_iova_ranges, out_iova_alignment);

static_assert(abi::map.number == IOMMU_IOAS_MAP);
static_assert(abi::at_this_iova == IOMMU_IOAS_MAP_FIXED_IOVA &&
              abi::device_may_write == IOMMU_IOAS_MAP_WRITEABLE &&
              abi::device_may_read == IOMMU_IOAS_MAP_READABLE);
TETHER_BEGINS(abi::memory_mapping, iommu_ioas_map);
TETHER_SAME(abi::memory_mapping, size, iommu_ioas_map, size);
TETHER_SAME(abi::memory_mapping, flags, iommu_ioas_map, flags);
TETHER_SAME(abi::memory_mapping, ioas, iommu_ioas_map, ioas_id);
TETHER_SAME(abi::memory_mapping, reserved, iommu_ioas_map, __reserved);
TETHER_SAME(abi::memory_mapping, host, iommu_ioas_map, user_va);
TETHER_SAME(abi::memory_mapping, length, iommu_ioas_map, length);
TETHER_SAME(abi::memory_mapping, iova, iommu_ioas_map, iova);

static_assert(abi::unmap.number == IOMMU_IOAS_UNMAP);
TETHER_BEGINS(abi::unmapping, iommu_ioas_unmap);
TETHER_SAME(abi::unmapping, size, iommu_ioas_unmap, size);
TETHER_SAME(abi::unmapping, ioas, iommu_ioas_unmap, ioas_id);
TETHER_SAME(abi::unmapping, iova, iommu_ioas_unmap, iova);
TETHER_SAME(abi::unmapping, length, iommu_ioas_unmap, length);

static_assert(abi::set_option.number == IOMMU_OPTION);
static_assert(abi::locked_memory_by_process == IOMMU_OPTION_RLIMIT_MODE &&
              abi::huge_pages == IOMMU_OPTION_HUGE_PAGES &&
              abi::operation_set == IOMMU_OPTION_OP_SET);
TETHER_BEGINS(abi::option, iommu_option);
TETHER_SAME(abi::option, size, iommu_option, size);
TETHER_SAME(abi::option, which, iommu_option, option_id);
TETHER_SAME(abi::option, operation, iommu_option, op);
TETHER_SAME(abi::option, reserved, iommu_option, __reserved);
TETHER_SAME(abi::option, object, iommu_option, object_id);
TETHER_SAME(abi::option, value, iommu_option, val64);

#ifdef IOMMU_HWPT_ALLOC
static_assert(abi::allocate_page_table.number == IOMMU_HWPT_ALLOC);
TETHER_SAME(abi::new_page_table, size, iommu_hwpt_alloc, size);
TETHER_SAME(abi::new_page_table, flags, iommu_hwpt_alloc, flags);
TETHER_SAME(abi::new_page_table, device, iommu_hwpt_alloc, dev_id);
TETHER_SAME(abi::new_page_table, ioas, iommu_hwpt_alloc, pt_id);
TETHER_SAME(abi::new_page_table, page_table, iommu_hwpt_alloc, out_hwpt_id);
TETHER_SAME(abi::new_page_table, reserved, iommu_hwpt_alloc, __reserved);
#endif
#ifdef IOMMU_FAULT_QUEUE_ALLOC  // the struct had grown to what we send by then
TETHER_BEGINS(abi::new_page_table, iommu_hwpt_alloc);
TETHER_SAME(abi::new_page_table, data_type, iommu_hwpt_alloc, data_type);
TETHER_SAME(abi::new_page_table, data_length, iommu_hwpt_alloc, data_len);
TETHER_SAME(abi::new_page_table, data, iommu_hwpt_alloc, data_uptr);
TETHER_SAME(abi::new_page_table, fault_queue, iommu_hwpt_alloc, fault_id);
#endif

#ifdef IOMMU_IOAS_MAP_FILE
static_assert(abi::map_file.number == IOMMU_IOAS_MAP_FILE);
TETHER_BEGINS(abi::file_mapping, iommu_ioas_map_file);
TETHER_SAME(abi::file_mapping, size, iommu_ioas_map_file, size);
TETHER_SAME(abi::file_mapping, flags, iommu_ioas_map_file, flags);
TETHER_SAME(abi::file_mapping, ioas, iommu_ioas_map_file, ioas_id);
TETHER_SAME(abi::file_mapping, file, iommu_ioas_map_file, fd);
TETHER_SAME(abi::file_mapping, offset, iommu_ioas_map_file, start);
TETHER_SAME(abi::file_mapping, length, iommu_ioas_map_file, length);
TETHER_SAME(abi::file_mapping, iova, iommu_ioas_map_file, iova);
#endif
#endif  // TETHER_REAL_IOMMUFD

#ifdef VFIO_DEVICE_BIND_IOMMUFD
static_assert(abi::bind_device.number == VFIO_DEVICE_BIND_IOMMUFD);
TETHER_BEGINS(abi::device_binding, vfio_device_bind_iommufd);
TETHER_SAME(abi::device_binding, size, vfio_device_bind_iommufd, argsz);
TETHER_SAME(abi::device_binding, flags, vfio_device_bind_iommufd, flags);
TETHER_SAME(abi::device_binding, iommufd, vfio_device_bind_iommufd, iommufd);
TETHER_SAME(abi::device_binding, device, vfio_device_bind_iommufd, out_devid);
#ifdef VFIO_DEVICE_BIND_FLAG_TOKEN
static_assert(abi::device_binding_with_token::has_token == VFIO_DEVICE_BIND_FLAG_TOKEN);
TETHER_BEGINS(abi::device_binding_with_token, vfio_device_bind_iommufd);
TETHER_SAME(abi::device_binding_with_token, token, vfio_device_bind_iommufd, token_uuid_ptr);
#endif

static_assert(abi::attach_device.number == VFIO_DEVICE_ATTACH_IOMMUFD_PT);
TETHER_BEGINS(abi::device_attachment, vfio_device_attach_iommufd_pt);
TETHER_SAME(abi::device_attachment, size, vfio_device_attach_iommufd_pt, argsz);
TETHER_SAME(abi::device_attachment, flags, vfio_device_attach_iommufd_pt, flags);
TETHER_SAME(abi::device_attachment, page_table, vfio_device_attach_iommufd_pt, pt_id);

static_assert(abi::detach_device.number == VFIO_DEVICE_DETACH_IOMMUFD_PT);
TETHER_BEGINS(abi::device_detachment, vfio_device_detach_iommufd_pt);
TETHER_SAME(abi::device_detachment, size, vfio_device_detach_iommufd_pt, argsz);
TETHER_SAME(abi::device_detachment, flags, vfio_device_detach_iommufd_pt, flags);
#endif
