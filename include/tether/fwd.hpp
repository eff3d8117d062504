// SPDX-License-Identifier: BSL-1.0
// Forward declarations of what users name in headers of their own. The default template arguments
// are here, and nowhere else. Not here is what has concepts for parameters (`dma_listener`): it can
// be declared only where they are, so its own header is what to include.
#pragma once

#include <tether/version.hpp>

#include <cstdint>

namespace tether {

// core
class TETHER_ERROR_ABI error;
class iova_allocator;
class label;
struct linux_kernel;

// topology
class address_space;
class flat_view;
class memory_backing;
class ram_block;
class region;
class transaction;
struct section;
class population;
class unit_source;

// backends
template <class Kernel = linux_kernel>
class basic_io_uring_buffers;
using io_uring_buffers = basic_io_uring_buffers<>;
template <class Kernel = linux_kernel>
class basic_io_uring_device;
using io_uring_device = basic_io_uring_device<>;
template <class Kernel = linux_kernel>
class basic_iommufd;
using iommufd = basic_iommufd<>;
template <class Kernel = linux_kernel>
class basic_iommufd_context;
using iommufd_context = basic_iommufd_context<>;
template <class Kernel = linux_kernel>
class basic_bar_view;
using bar_view = basic_bar_view<>;
template <class Kernel = linux_kernel>
class basic_vfio_device;
using vfio_device = basic_vfio_device<>;
template <class Kernel = linux_kernel>
class basic_vfio_type1;
using vfio_type1 = basic_vfio_type1<>;
class software_iommu;
class sorted_lookup;
template <std::uint64_t Size>
class direct_lookup;
struct endpoint;
class endpoint_group;
class vfio_cdev;
class vfio_group;

// inhibition
struct multi_threaded;
struct single_threaded;
template <class Threading = multi_threaded>
class discard_gate;

struct inhibit_per_container;
struct inhibit_per_device;
struct inhibit_per_group;
struct no_inhibition;

// granularity
template <std::uint64_t Size>
struct fixed_block;
struct largest_page;
struct whole_section;
struct refuse_edges;
struct trim_edges;

// discards
struct fence_device;
template <class Threading = multi_threaded, class PopulateFailure = fence_device>
class balloon;
template <class Threading = multi_threaded>
class page_reporting;
template <class Threading = multi_threaded>
class virtio_mem;

// composition
template <class Backend, class... Policies>
class container;
template <class Container>
class attached_group;
template <class Container>
class attached_device;
template <class Container>
class opened_device;
template <class Kernel = linux_kernel>
class basic_kvm_device;
using kvm_device = basic_kvm_device<>;

}  // namespace tether
