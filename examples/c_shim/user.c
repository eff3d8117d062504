/* SPDX-License-Identifier: BSL-1.0 */
/* A driver in C, as far as memory is concerned: a ring at an address of its own, a buffer wherever
 * there is room, and the addresses that the device is told. Then each mistake that a caller can
 * make, and the sentence that it meets.
 *
 *     user                              software_iommu, made-up device
 *     user vfio_type1 0000:01:00.0      bound to vfio-pci
 *
 * Without arguments it prints:
 *
 *     the buffer is at 0x104000, and a byte of it at 0x105267
 *     map at I/O virtual [0x1000, 0x4fff]: it is there already
 *       some of this memory is mapped: each byte of it has one address
 *     claim I/O addresses at I/O virtual [0x101000, 0x104fff]: something is there already
 *     map at I/O virtual [0x400000, 0x400000]: the extent is empty or wraps past the end of its address space
 *       give it memory, and a size that fits behind both addresses
 *     allocate I/O addresses: the extent is empty or wraps past the end of its address space
 *     map at I/O virtual [0x1000, 0x4fff]: the mapping does not allow that access
 *       the rights are TETHER_READ, or TETHER_READ | TETHER_WRITE
 *     map at I/O virtual [0x400100, 0x4040ff]: it is not a whole number of pages
 *       both addresses and the size must be multiples of 4096 bytes
 *     borrow memory of 'memory' at host virtual [0x1000, 0x1fff]: nothing is mapped there
 *       all of it must be mapped
 *     unmap at I/O virtual [0x105000, 0x105000]: nothing is mapped there
 *       name the first byte of what was mapped
 *     translate: nothing is mapped there
 *       map that memory first
 *     translate: Invalid argument
 *       a pointer is null
 *     attach: Invalid argument
 *       a pointer is null
 *     attach of 'nic': it is there already
 *     detach of 'disk': there is nothing of that name
 *       name it as it was attached
 *     ask for usable ranges: Invalid argument
 *       a pointer is null
 *     translate: nothing is mapped there
 *       map that memory first
 *     close: what the handle named is gone
 *       no such handle is open: it was closed
 *     map: what the handle named is gone
 *       the handle is 0: tether_open has failed
 *     open backend of 'vfio': this is not supported here
 *       name one of vfio_type1, iommufd, io_uring_buffers, software_iommu
 *     open backend: Invalid argument
 *       a pointer is null
 */
#include "tether_c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void check(int done, const char* what) {
  if (done) return;
  printf("%s: %s\n", what, tether_last_error());
  exit(EXIT_FAILURE);
}

/* What must fail; what it says is printed, and what to do about it on a second line. */
static void refused(int answer) {
  const char* const said = tether_last_error();
  const char* const advice = strstr(said, "; ");
  check(answer == -1, "this was not refused");
  if (advice == NULL) printf("%s\n", said);
  else printf("%.*s\n  %s\n", (int)(advice - said), said, advice + 2);
}

/* What the kernel says that this process has pinned or locked. Units: KiB. */
static unsigned long pinned(void) {
  FILE* status = fopen("/proc/self/status", "r");
  char line[128];
  unsigned long all = 0, now = 0;
  if (status == NULL) return 0;
  while (fgets(line, sizeof line, status) != NULL) {
    if (sscanf(line, "VmLck: %lu", &now) == 1 || sscanf(line, "VmPin: %lu", &now) == 1) all += now;
  }
  fclose(status);
  return all;
}

static char* pages(size_t bytes) {
  void* const memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  return memory;
}

int main(int count, char** words) {
  const char* const backend = count > 1 ? words[1] : "software_iommu";
  const char* const device = count > 2 ? words[2] : "nic";
  const int both = TETHER_READ | TETHER_WRITE;
  const size_t ring_bytes = 16 << 10, buffer_bytes = 1 << 20;
  char* const ring = pages(ring_bytes);
  char* const buffer = pages(buffer_bytes);
  struct tether_range ranges[8];
  size_t usable = 0;
  uint64_t at = 0, inside = 0;
  tether_handle iommu = tether_open(backend);
  if (iommu == 0) {
    printf("skipped: %s\n", tether_last_error());
    return 77;
  }
  check(tether_attach(iommu, device) == 0, "attach");
  check(tether_usable_ranges(iommu, ranges, 8, &usable) == 0, "usable ranges");
  check(usable != 0 && ranges[0].first < ranges[0].last, "there is a usable range");

  check(tether_map_at(iommu, ring, ring_bytes, 0x100000, both) == 0, "map the ring");
  check(tether_map(iommu, buffer, buffer_bytes, TETHER_READ, &at) == 0, "map the buffer");
  check(tether_translate(iommu, buffer + 4711, &inside) == 0, "translate");
  check(inside == at + 4711, "a byte of the buffer is as far into it as in memory");
  check(at + buffer_bytes <= 0x100000 || at >= 0x100000 + ring_bytes, "the two lie apart");
  /* iommufd counts what a privileged user pins nowhere that a process could see. */
  if (strcmp(backend, "software_iommu") != 0 && strcmp(backend, "iommufd") != 0)
    check(pinned() >= (ring_bytes + buffer_bytes) >> 10, "the kernel has pinned both");
  printf("the buffer is at 0x%llx, and a byte of it at 0x%llx\n", (unsigned long long)at,
         (unsigned long long)inside);

  refused(tether_map(iommu, ring, ring_bytes, both, &inside));
  refused(tether_map_at(iommu, pages(ring_bytes), ring_bytes, 0x101000, both));
  refused(tether_map_at(iommu, NULL, ring_bytes, 0x400000, both));
  refused(tether_map(iommu, pages(ring_bytes), 0, both, &inside));
  refused(tether_map(iommu, pages(ring_bytes), ring_bytes, TETHER_WRITE, &inside));
  refused(tether_map_at(iommu, pages(ring_bytes), ring_bytes, 0x400100, both));
  refused(tether_map_at(iommu, (void*)(uintptr_t)4096, 4096, 0x400000, both));
  refused(tether_unmap(iommu, at + 4096));
  refused(tether_translate(iommu, &at, &inside));
  refused(tether_translate(iommu, buffer, NULL));
  refused(tether_attach(iommu, NULL));
  refused(tether_attach(iommu, device));
  refused(tether_detach(iommu, "disk"));
  refused(tether_usable_ranges(iommu, NULL, 8, &usable));

  check(tether_unmap(iommu, at) == 0, "unmap");
  refused(tether_translate(iommu, buffer, &inside));
  check(tether_map(iommu, buffer, buffer_bytes, both, &inside) == 0, "map it again");
  check(inside == at, "the first room is the same");
  check(tether_detach(iommu, device) == 0, "detach");
  check(tether_close(iommu) == 0, "close");
  check(pinned() == 0, "nothing is pinned any more");
  refused(tether_close(iommu));
  refused(tether_map(0, ring, ring_bytes, both, &at));
  refused(tether_open("vfio") == 0 ? -1 : 0);
  refused(tether_open(NULL) == 0 ? -1 : 0);
  return EXIT_SUCCESS;
}
