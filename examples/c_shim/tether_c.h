/* SPDX-License-Identifier: BSL-1.0 */
/* Maps memory of a C program for the DMA of its devices: tether behind ten functions, the backend
 * chosen when the program runs. A driver in user space, without a guest and without a balloon: it
 * takes this header and tether_c.cpp into its own source, and adds what it needs.
 *
 * Functions that answer `int` answer 0, or -1 and leave everything as it was;
 * tether_last_error() says why. No exception leaves them. A handle that is 0, that was closed or
 * that never was is an error, too. Any thread may call any of them. */
#ifndef TETHER_C_H
#define TETHER_C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One I/O address space. 0 is none. */
typedef uint64_t tether_handle;

/* What a device may do; both, joined by |. */
enum tether_rights { TETHER_READ = 1, TETHER_WRITE = 2 };

/* I/O virtual addresses from the first byte to the last, both included. */
struct tether_range {
  uint64_t first;
  uint64_t last;
};

/* Opens a backend: "vfio_type1", "iommufd", "io_uring_buffers" (no hardware: the kernel pins all
 * the same) or "software_iommu" (nothing at all is needed). 0 on failure. */
tether_handle tether_open(const char* backend);
/* Detaches every device, unmaps everything, and forgets the handle. Fails: a device is still used,
 * by a BAR that is mapped for example. */
int tether_close(tether_handle iommu);

/* Attaches a device: a PCI address such as "0000:01:00.0", a path such as
 * "/dev/vfio/devices/vfio0", or any name where the backend needs no hardware. What is mapped, and
 * what will be, it can reach from here on. */
int tether_attach(tether_handle iommu, const char* device);
int tether_detach(tether_handle iommu, const char* device);

/* Maps memory, whole pages of it, at an I/O virtual address, or where there is room, which is told
 * by `at` (never 0). Attach first: what is usable depends on the device. The memory stays the
 * caller's, and must not be freed before it is unmapped; it may be mapped once only. */
int tether_map_at(tether_handle iommu, void* memory, size_t bytes, uint64_t at, int rights);
int tether_map(tether_handle iommu, void* memory, size_t bytes, int rights, uint64_t* at);
/* Unmaps what was mapped at `at`, all of it. Ensures: no device can reach it any more. */
int tether_unmap(tether_handle iommu, uint64_t at);

/* The I/O virtual address of a byte of mapped memory: what a descriptor ring is given. */
int tether_translate(tether_handle iommu, const void* memory, uint64_t* at);
/* The usable ranges, ascending, as many of them as there is `room`; `count` is how many there are.
 */
int tether_usable_ranges(tether_handle iommu, struct tether_range* into, size_t room,
                         size_t* count);

/* Why the last call of this thread that failed did, and what to do about it: one sentence, valid
 * until this thread's next call. Never null. */
const char* tether_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
