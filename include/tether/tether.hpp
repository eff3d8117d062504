// SPDX-License-Identifier: BSL-1.0
// All of tether but the proof, which is opt-in. In the order data flows; nothing inside includes this.
#pragma once

#include <tether/version.hpp>

#include <tether/core/access.hpp>
#include <tether/core/address.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/errc.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/core/policies.hpp>
#include <tether/core/stop.hpp>

#include <tether/topology/address_space.hpp>
#include <tether/topology/anchor.hpp>
#include <tether/topology/difference.hpp>
#include <tether/topology/flat_view.hpp>
#include <tether/topology/label.hpp>
#include <tether/topology/listener_table.hpp>
#include <tether/topology/map_writer.hpp>
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/memory_listener.hpp>
#include <tether/topology/memory_sources.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>
#include <tether/topology/region_table.hpp>
#include <tether/topology/render.hpp>
#include <tether/topology/section.hpp>
#include <tether/topology/transaction.hpp>
#include <tether/topology/view_guard.hpp>
#include <tether/topology/view_update.hpp>

#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>

#include <tether/backend/concepts.hpp>
#include <tether/backend/endpoint_group.hpp>
#include <tether/backend/endpoint_registry.hpp>
#include <tether/backend/interval_table.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/io_uring_device.hpp>
#include <tether/backend/io_uring_pins.hpp>
#include <tether/backend/io_uring_ring.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/iommufd_abi.hpp>
#include <tether/backend/iommufd_book.hpp>
#include <tether/backend/iommufd_context.hpp>
#include <tether/backend/iommufd_ioas.hpp>
#include <tether/backend/iommufd_page_tables.hpp>
#include <tether/backend/journal.hpp>
#include <tether/backend/kernel_handles.hpp>
#include <tether/backend/mapping_rules.hpp>
#include <tether/backend/recording.hpp>
#include <tether/backend/ring_link.hpp>
#include <tether/backend/slot_chains.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/translation_gate.hpp>
#include <tether/backend/vfio_cdev.hpp>
#include <tether/backend/vfio_device.hpp>
#include <tether/backend/vfio_group.hpp>
#include <tether/backend/vfio_joined_group.hpp>
#include <tether/backend/vfio_sysfs.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/backend/vfio_type1_info.hpp>

#include <tether/inhibit/books.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/hold.hpp>
#include <tether/inhibit/holder.hpp>
#include <tether/inhibit/inhibit_per_container.hpp>
#include <tether/inhibit/inhibit_per_device.hpp>
#include <tether/inhibit/inhibit_per_group.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/ledger.hpp>
#include <tether/inhibit/no_inhibition.hpp>
#include <tether/inhibit/threading.hpp>
#include <tether/inhibit/turnstile.hpp>

#include <tether/discard/balloon.hpp>
#include <tether/discard/batch.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/guest_memory.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/discard/partial_pages.hpp>
#include <tether/discard/report.hpp>

#include <tether/listen/attendant.hpp>
#include <tether/listen/audited.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/page_frames.hpp>
#include <tether/listen/section_filter.hpp>
#include <tether/listen/section_mapper.hpp>
#include <tether/listen/section_plan.hpp>
#include <tether/listen/undo_log.hpp>

#include <tether/attach/acts.hpp>
#include <tether/attach/audit.hpp>
#include <tether/attach/configuration.hpp>
#include <tether/attach/container.hpp>
#include <tether/attach/device_operations.hpp>
#include <tether/attach/group_operations.hpp>
#include <tether/attach/handles.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/attach/lifecycle.hpp>
#include <tether/attach/lifecycle_plan.hpp>
#include <tether/attach/lifecycle_well_formed.hpp>
#include <tether/attach/records.hpp>
#include <tether/attach/tasks.hpp>
