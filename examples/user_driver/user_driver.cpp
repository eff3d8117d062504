// SPDX-License-Identifier: BSL-1.0
// A driver in user space: a backend alone, buffers of the program's own at I/O addresses that the
// library chooses, no guest and no balloon. With the PCI address of an NVMe disk that is bound to
// vfio-pci it drives that, over each interface that this kernel has, and OVERWRITES its first 64
// KiB; without one, a disk in memory behind software_iommu, by the same code. It prints
//
//     --- vfio_type1
//     QEMU NVMe Ctrl, serial number tether: 32768 blocks of 512 bytes
//     64 KiB written, read into 16 buffers: the same
//     discarded while mapped:  the disk holds 5a, the CPU sees 00
//     discarded when unmapped: the disk holds 5a, the CPU sees 5a
//     2 of 65 interrupts signal eventfds; a read has ended by one
//     --- software_iommu
//     a vector behind software_iommu: 128 blocks of 512 bytes
//     64 KiB written, read into 16 buffers: the same
//     discarded while mapped:  the disk holds 5a, the CPU sees 5a
//     discarded when unmapped: the disk holds 5a, the CPU sees 5a
//
// The 00 is what tether is about: the IOMMU has pinned the page that was discarded, and the CPU has
// got another one. software_iommu pins nothing. test/system runs it in machines that have the disk.
// tier: 1 2
// machine: -drive if=none,id=disk,driver=null-co,read-zeroes=on,size=16M,snapshot=on
// machine: -device nvme,drive=disk,serial=tether,addr=5
#include "attached.hpp"
#include "must.hpp"
#include "nvme_disk.hpp"
#include "software_disk.hpp"
#include "story.hpp"

#include <tether/tether.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <unistd.h>

namespace {

using namespace user_driver;

/// Declared in the order in which it is needed, so it ends in the reverse: the disk stops, what is
/// mapped is unmapped, the device is closed, its group leaves.
template <class Backend>
bool drive(char const* name, std::string const& address) {
  std::printf("--- %s\n", name);
  auto iommu = must(tether::open_backend<Backend>());
  attached<Backend> seat{iommu, tether::endpoint{address}};
  auto buffers = must(tether::mapped_buffers<Backend>::over(iommu));
  nvme::disk disk{seat.device(), buffers};
  if (!tell(disk, buffers, Backend::pins)) return false;

  disk.wait_for_interrupts();
  const dma_memory block{buffers, 4096};
  must(disk.read(0, block.bytes()));
  std::printf("2 of %u interrupts signal eventfds; a read has ended by one\n", disk.vectors());
  return true;
}

bool drive_in_software() {
  std::puts("--- software_iommu");
  tether::software_iommu iommu;
  attached<tether::software_iommu> seat{iommu, tether::endpoint{"disk"}};
  auto buffers = must(tether::mapped_buffers<tether::software_iommu>::over(iommu));
  software_disk disk{seat.device(), buffers};
  return tell(disk, buffers, tether::software_iommu::pins);
}

bool drive_for_real(std::string const& address) {
  int driven = 0;
  if (::access("/dev/vfio/vfio", F_OK) == 0) {
    if (!drive<tether::vfio_type1>("vfio_type1", address)) return false;
    ++driven;
  }
  if (::access("/dev/iommu", F_OK) == 0) {
    if (!drive<tether::iommufd>("iommufd", address)) return false;
    ++driven;
  }
  if (driven == 0) std::puts("neither /dev/vfio/vfio nor /dev/iommu is here: load vfio-pci");
  return driven != 0;
}

}  // namespace

int main(int count, char** arguments) try {
  bool well = true;
  if (count > 1) well = drive_for_real(arguments[1]);
  well = drive_in_software() && well;
  return well ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (std::exception const& why) {
  std::puts(why.what());
  return EXIT_FAILURE;
}
