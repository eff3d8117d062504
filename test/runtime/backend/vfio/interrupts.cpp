// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/interrupts.hpp>

#include <support/failing_allocation.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <linux/vfio.h>
#include <vector>

namespace runtime_backend_vfio_interrupts {

using namespace tether;
using namespace tether::detail;

namespace {

/// The request as the kernel reads it: its struct, without its data, and the eventfds behind it.
struct read_back {
  explicit read_back(interrupt_request& request) {
    std::memcpy(words.data(), request.data(), sizeof(vfio_irq_set));
    eventfds.resize((argsz() - sizeof(vfio_irq_set)) / sizeof(std::int32_t));
    if (eventfds.empty()) return;
    std::memcpy(eventfds.data(), static_cast<std::byte*>(request.data()) + sizeof(vfio_irq_set),
                argsz() - sizeof(vfio_irq_set));
  }
  [[nodiscard]] std::uint32_t argsz() const { return words[0]; }
  [[nodiscard]] std::uint32_t flags() const { return words[1]; }
  [[nodiscard]] std::uint32_t index() const { return words[2]; }
  [[nodiscard]] std::uint32_t start() const { return words[3]; }
  [[nodiscard]] std::uint32_t count() const { return words[4]; }
  std::array<std::uint32_t, sizeof(vfio_irq_set) / 4> words{};
  std::vector<std::int32_t> eventfds;
};

}  // namespace

TEST_CASE("a request has the kernel's struct and behind it an eventfd for each vector") {
  for (const std::size_t count : {1U, 2U, 2048U}) {
    std::vector<std::int32_t> eventfds(count);
    for (std::size_t i = 0; i != count; ++i) eventfds[i] = static_cast<std::int32_t>(i * 3) - 1;
    const std::uint64_t before = tether_test::allocations_made;
    interrupt_request request{VFIO_PCI_MSIX_IRQ_INDEX, 7, eventfds};
    if (count == 1) CHECK(tether_test::allocations_made == before);
    const read_back kernel{request};
    CHECK(kernel.flags() == (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER));
    CHECK(kernel.index() == VFIO_PCI_MSIX_IRQ_INDEX);
    CHECK(kernel.start() == 7);
    CHECK(kernel.count() == count);
    CHECK(kernel.eventfds == eventfds);
  }
}

TEST_CASE("an index is disabled by a request of no vectors and no data") {
  interrupt_request request{VFIO_PCI_MSI_IRQ_INDEX};
  const read_back kernel{request};
  CHECK(kernel.argsz() == sizeof(vfio_irq_set));
  CHECK(kernel.flags() == (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER));
  CHECK(kernel.index() == VFIO_PCI_MSI_IRQ_INDEX);
  CHECK(kernel.count() == 0);
}

TEST_CASE("each flag of the kernel's is told, and why it refused") {
  vfio_irq_info said{};
  CHECK(as_interrupts(said) == vfio_interrupts{});
  said.count = 9;
  CHECK(as_interrupts(said).vectors == 9);
  const auto only = [&](std::uint32_t flag) {
    said.flags = flag;
    return as_interrupts(said);
  };
  CHECK(only(VFIO_IRQ_INFO_EVENTFD) == vfio_interrupts{.vectors = 9, .eventfds = true});
  CHECK(only(VFIO_IRQ_INFO_MASKABLE) == vfio_interrupts{.vectors = 9, .maskable = true});
  CHECK(only(VFIO_IRQ_INFO_AUTOMASKED) == vfio_interrupts{.vectors = 9, .masked_when_sent = true});
  const auto fixed = only(VFIO_IRQ_INFO_NORESIZE);
  CHECK(fixed == vfio_interrupts{.vectors = 9, .fixed_once_set = true});

  const auto why = error::from_errno("set interrupts", EINVAL).of("nic");
  CHECK(why_not_signalled(why, fixed, 9, 1).is(errc::unsupported));
  CHECK(why_not_signalled(why, fixed, 10, 1).is(errc::unsupported));
  CHECK(why_not_signalled(why, fixed, 8, 2).is(errc::unsupported));
  CHECK(why_not_signalled(why, fixed, 8, 1).is(errc::still_in_use));
  CHECK(why_not_signalled(why, vfio_interrupts{.vectors = 9}, 8, 1).is_errno(EINVAL));
  CHECK(why_not_signalled(why, fixed, 9, 1).subject() == "nic");
}

}  // namespace runtime_backend_vfio_interrupts
