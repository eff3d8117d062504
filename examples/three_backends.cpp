// SPDX-License-Identifier: BSL-1.0
// One source for every backend, chosen when the program starts. What differs between them is one
// type: how it is opened (`open_backend`), what is attached for a device's name (`endpoint`), and
// whether a group comes with it (`attach`) is the library's business. A device and a DIMM are
// plugged in and unplugged, and the status after each step is printed as JSON.
//
//     three_backends                                              software_iommu, made-up device
//     three_backends --backend io_uring_buffers                   the kernel pins
//     three_backends --backend vfio_type1 --device 0000:01:00.0   bound to vfio-pci
//     three_backends --backend iommufd --device /dev/vfio/devices/vfio0
//
// A VMM has KVM told of its devices by one more policy, `tether::kvm_device_for<Backend>`: see
// examples/vmm. Without arguments this prints:
//
//     {"step": "begin", "attached": 0, "mappings": 0, "bytes": 0, "held_by": []}
//     {"step": "attach device", "attached": 1, "mappings": 1, "bytes": 4194304, "held_by": []}
//     {"step": "plug DIMM in", "attached": 1, "mappings": 2, "bytes": 6291456, "held_by": []}
//     {"step": "inflate balloon", "discarded": 3, "inhibited": 0}
//     {"step": "unplug DIMM", "attached": 1, "mappings": 1, "bytes": 4194304, "held_by": []}
//     {"step": "detach device", "attached": 0, "mappings": 0, "bytes": 0, "held_by": []}
//     {"step": "inflate balloon", "discarded": 3, "inhibited": 0}
#include <tether/tether.hpp>

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

std::string quoted(std::string_view text) {
  std::string all = "\"";
  for (const char one : text) {
    if (one == '"' || one == '\\') all += '\\';
    all += static_cast<unsigned char>(one) < ' ' ? '?' : one;
  }
  return all += '"';
}

class machine {
 public:
  template <class Backend>
  void run(Backend iommu, std::string const& name) {
    passthrough<Backend> dma{guest_, gate_, std::move(iommu)};
    const auto tell = [&](const char* step) {
      const auto mapped = dma.usage();
      std::printf("{\"step\": %s, \"attached\": %u, \"mappings\": %llu, ", quoted(step).c_str(),
                  dma.membership().members, static_cast<unsigned long long>(mapped.mappings));
      std::printf("\"bytes\": %llu, \"held_by\": [%s]}\n",
                  static_cast<unsigned long long>(mapped.bytes), holders().c_str());
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
    const auto said = balloon_.inflate(frames);
    std::printf("{\"step\": \"inflate balloon\", \"discarded\": %llu, \"inhibited\": %llu}\n",
                static_cast<unsigned long long>(said.discarded),
                static_cast<unsigned long long>(said.inhibited));
  }
  std::string holders() {
    std::string all;
    gate_.for_each_holder([&](tether::holder_info const& who) {
      if (who.count != 0) all += (all.empty() ? "" : ", ") + quoted(who.name);
    });
    return all;
  }

  tether::ram_block ram_ = must(tether::ram_block::allocate("ram", 4 * tether::MiB));
  tether::ram_block dimm_ = must(tether::ram_block::allocate("dimm", 2 * tether::MiB));
  tether::address_space guest_;
  tether::discard_gate<> gate_;
  tether::balloon<> balloon_{guest_, gate_};
};

template <class Backend>
int run_over(std::string const& device) {
  auto iommu = tether::open_backend<Backend>();
  if (!iommu) {
    std::printf("skipped: %s\n", iommu.error().sentence().c_str());
    return 77;  // this kernel does not have it
  }
  machine{}.run(std::move(*iommu), device);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int count, char** words) {
  std::string backend = "software_iommu";
  std::string device = "eth0";
  for (int at = 1; at < count; at += 2) {
    const std::string_view option = words[at];
    if ((option != "--backend" && option != "--device") || at + 1 == count) {
      std::fputs("usage: three_backends [--backend NAME] [--device ADDRESS-OR-PATH]\n", stderr);
      return EXIT_FAILURE;
    }
    (option == "--backend" ? backend : device) = words[at + 1];
  }
  if (backend == "software_iommu") return run_over<tether::software_iommu>(device);
  if (backend == "io_uring_buffers") return run_over<tether::io_uring_buffers>(device);
  if (backend == "vfio_type1") return run_over<tether::vfio_type1>(device);
  if (backend == "iommufd") return run_over<tether::iommufd>(device);
  std::fprintf(stderr,
               "--backend: '%s' is none of software_iommu, io_uring_buffers, vfio_type1, iommufd\n",
               backend.c_str());
  return EXIT_FAILURE;
}
