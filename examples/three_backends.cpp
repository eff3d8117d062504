// SPDX-License-Identifier: BSL-1.0
// One source for every backend, chosen when the program starts. What differs between them is one
// type: how it is opened (`open_backend`), what is attached for a device's name (`endpoint`), and
// whether a group comes with it (`attach`) is the library's business. A device and a DIMM are
// plugged in and unplugged, and the gate's status after each step is printed as JSON. A container's
// says when each thing was attached: with --json it is printed, too.
//
//     three_backends                                              software_iommu, made-up device
//     three_backends --backend io_uring_buffers                   the kernel pins
//     three_backends --backend vfio_type1 --device 0000:01:00.0   bound to vfio-pci
//     three_backends --backend iommufd --device /dev/vfio/devices/vfio0
//
// A VMM has KVM told of its devices by one more policy, `tether::kvm_device_for<Backend>`: see
// examples/vmm. Without arguments this prints:
//
//     begin: 0 bytes mapped
//     {"discards_allowed": true, "coordinated_discards_allowed": true, "holders": []}
//     attach device: 4194304 bytes mapped
//     {"discards_allowed": true, "coordinated_discards_allowed": true, "holders": []}
//     plug DIMM in: 6291456 bytes mapped
//     {"discards_allowed": true, "coordinated_discards_allowed": true, "holders": []}
//     inflate balloon: 3 requested: 3 discarded
//     unplug DIMM: 4194304 bytes mapped
//     {"discards_allowed": true, "coordinated_discards_allowed": true, "holders": []}
//     detach device: 0 bytes mapped
//     {"discards_allowed": true, "coordinated_discards_allowed": true, "holders": []}
//     inflate balloon: 3 requested: 3 discarded
#include <tether/tether.hpp>
#include <tether/text.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace {

template <class T>
T must(tether::result<T> answer) {
  if (!answer) {
    std::fprintf(stderr, "%s\n", answer.error().sentence().c_str());
    std::exit(EXIT_FAILURE);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

/// The only thing that changes with the backend.
template <class Backend>
using passthrough = tether::container<Backend, tether::inhibit_per_group, tether::whole_section>;

class machine {
 public:
  explicit machine(bool tells_all) : tells_all_{tells_all} {}

  template <class Backend>
  void run(Backend iommu, std::string const& name) {
    passthrough<Backend> dma{guest_, gate_, std::move(iommu)};
    const auto tell = [&](const char* step) {
      const auto now = dma.status();
      std::printf("%s: %llu bytes mapped\n%s\n", step,
                  static_cast<unsigned long long>(now.mapped.bytes),
                  tether::json_of(gate_.status()).c_str());
      if (tells_all_) std::puts(tether::json_of(now).c_str());
    };
    must(guest_.place(tether::region::ram(ram_), tether::guest_address{0}));
    tell("begin");
    auto device = must(dma.attach(tether::endpoint{name}));
    tell("attach device");
    const auto slot =
        must(guest_.place(tether::region::ram(dimm_), tether::guest_address{1 * tether::GiB}));
    tell("plug DIMM in");
    inflate();
    must(guest_.remove(slot));
    tell("unplug DIMM");
    must(device.request_unplug());  // the guest lets go of it; then:
    must(device.detach());
    tell("detach device");
    inflate();
  }

 private:
  void inflate() {
    const std::array<std::uint32_t, 3> frames{7, 8, 9};
    std::printf("inflate balloon: %s\n", tether::text_of(balloon_.inflate(frames)).c_str());
  }

  bool tells_all_;
  tether::ram_block ram_ = must(tether::ram_block::allocate("ram", 4 * tether::MiB));
  tether::ram_block dimm_ = must(tether::ram_block::allocate("dimm", 2 * tether::MiB));
  tether::address_space guest_;
  tether::discard_gate<> gate_;
  tether::balloon<> balloon_{guest_, gate_};
};

template <class Backend>
int run_over(std::string const& device, bool tells_all) {
  auto iommu = tether::open_backend<Backend>();
  if (!iommu) {
    std::printf("skipped: %s\n", iommu.error().sentence().c_str());
    return 77;  // this kernel does not have it
  }
  machine{tells_all}.run(std::move(*iommu), device);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int count, char** words) {
  std::string backend = "software_iommu";
  std::string device = "eth0";
  bool tells_all = false;
  for (int at = 1; at < count; ++at) {
    const std::string_view option = words[at];
    if (option == "--json") {
      tells_all = true;
    } else if ((option == "--backend" || option == "--device") && at + 1 != count) {
      (option == "--backend" ? backend : device) = words[++at];
    } else {
      std::fputs("usage: three_backends [--backend NAME] [--device ADDRESS-OR-PATH] [--json]\n",
                 stderr);
      return EXIT_FAILURE;
    }
  }
  if (backend == "software_iommu") return run_over<tether::software_iommu>(device, tells_all);
  if (backend == "io_uring_buffers") return run_over<tether::io_uring_buffers>(device, tells_all);
  if (backend == "vfio_type1") return run_over<tether::vfio_type1>(device, tells_all);
  if (backend == "iommufd") return run_over<tether::iommufd>(device, tells_all);
  std::fprintf(stderr,
               "--backend: '%s' is none of software_iommu, io_uring_buffers, vfio_type1, iommufd\n",
               backend.c_str());
  return EXIT_FAILURE;
}
