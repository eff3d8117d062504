// SPDX-License-Identifier: BSL-1.0
// Everything that a program needs to use tether: the public headers, in the order of data flow. The
// proof (`tether/proof.hpp`) and the doubles for tests (`tether/testing.hpp`) are opt-in. No header
// of tether includes this one.
#pragma once

#include <tether/version.hpp>

#include <tether/core/address.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/errc.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/iova_allocator.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>
#include <tether/core/label.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/core/pagemap.hpp>
#include <tether/core/slots.hpp>
#include <tether/core/stop.hpp>
#include <tether/core/stop_token.hpp>

#include <tether/topology/address_space.hpp>
#include <tether/topology/flat_view.hpp>
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/memory_listener.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>
#include <tether/topology/section.hpp>
#include <tether/topology/transaction.hpp>
#include <tether/topology/unit_source.hpp>
#include <tether/topology/view_guard.hpp>

#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>

#include <tether/backend/concepts.hpp>
#include <tether/backend/direct_lookup.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/backend/io_uring/device.hpp>
#include <tether/backend/io_uring/options.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/iommufd/context.hpp>
#include <tether/backend/mapped_buffers.hpp>
#include <tether/backend/open_backend.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio/bar_view.hpp>
#include <tether/backend/vfio/cdev.hpp>
#include <tether/backend/vfio/device.hpp>
#include <tether/backend/vfio/group.hpp>
#include <tether/backend/vfio/interrupts.hpp>
#include <tether/backend/vfio/region.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/backend/vfio/vf_token.hpp>
#include <tether/backend/vfio_type1.hpp>

#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/gate_status.hpp>
#include <tether/inhibit/hold.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/inhibit/threading.hpp>

#include <tether/discard/balloon.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/discard/populate_failure.hpp>
#include <tether/discard/report.hpp>
#include <tether/discard/virtio_mem.hpp>

#include <tether/listen/audited.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/listen/left_out.hpp>
#include <tether/listen/mapped_usage.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/observers.hpp>
#include <tether/listen/progress.hpp>

#include <tether/attach/audit.hpp>
#include <tether/attach/configuration.hpp>
#include <tether/attach/container.hpp>
#include <tether/attach/container_status.hpp>
#include <tether/attach/handles.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/attach/lease.hpp>
#include <tether/attach/status.hpp>
#include <tether/attach/tracing.hpp>
