// SPDX-License-Identifier: BSL-1.0
// An NVMe disk, driven from here: reset, identified, one queue pair for commands about itself and
// one for reads and writes. Source: NVM Express base specification 1.4, sections 3.1, 5, 6, 7.6.1.
#pragma once

#include "dma_memory.hpp"
#include "must.hpp"
#include "nvme_queue.hpp"

#include <tether/backend/vfio/bar_view.hpp>
#include <tether/backend/vfio/device.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <linux/vfio.h>
#include <span>
#include <string>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace nvme {

using user_driver::must;

/// `Buffers`: a `tether::mapped_buffers` of the IOMMU that the device has joined. Both outlive it.
template <class Buffers>
class disk {
 public:
  disk(tether::vfio_device& device, Buffers& buffers)
      : device_{device},
        buffers_{buffers},
        registers_{enabled(device)},
        memory_{buffers, 2 * queue_pair::size + page},
        admin_{memory_.data(), registers_, 0, stride()},
        io_{memory_.data() + queue_pair::size, registers_, 1, stride()} {
    start();
    identify();
    make_io_queues();
  }
  disk(disk const&) = delete;
  disk& operator=(disk const&) = delete;
  ~disk() {
    static_cast<void>(enable(false));  // from here on it does no DMA
    static_cast<void>(device_.signal_interrupts(VFIO_PCI_MSIX_IRQ_INDEX, -1));
  }

  [[nodiscard]] std::string const& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t blocks() const noexcept { return blocks_; }
  [[nodiscard]] std::uint64_t block_size() const noexcept { return block_size_; }
  /// Interrupts that it has: each could signal an eventfd of its own. Here two do.
  [[nodiscard]] std::uint32_t vectors() const noexcept { return vectors_; }

  /// From and into any mapped memory, whole blocks of it.
  tether::result<void> read(std::uint64_t block, std::span<std::byte> into) {
    return transfer("NVMe read", 0x02, block, into);
  }
  tether::result<void> write(std::uint64_t block, std::span<std::byte> from) {
    return transfer("NVMe write", 0x01, block, from);
  }
  /// From now on it is the interrupt of vector 1 that says that a transfer has ended.
  void wait_for_interrupts() noexcept {
    waits_on_ = signals_[1].number();
    std::uint64_t earlier = 0;  // of the transfers that were polled for
    while (::read(waits_on_, &earlier, sizeof earlier) > 0) {}
  }

 private:
  static constexpr std::uint64_t page = queue_pair::page;
  static constexpr std::uint32_t all_of_it = 1;  // the first namespace
  enum registers : std::uint64_t {
    capabilities = 0x00,
    configuration = 0x14,
    status = 0x1c,
    admin_sizes = 0x24,
    admin_submissions = 0x28,
    admin_completions = 0x30,
  };

  static tether::bar_view enabled(tether::vfio_device& device) {
    must(device.enable_bus_mastering());
    return must(device.map_bar(0));
  }
  [[nodiscard]] std::uint64_t stride() const noexcept {
    return std::uint64_t{4} << (registers_.read<std::uint64_t>(capabilities) >> 32U & 0xfU);
  }
  /// Starts or stops it, and waits until it has done so: as long as it says that it may take.
  tether::result<void> enable(bool on) noexcept {
    constexpr std::uint32_t entry_sizes = 6U << 16U | 4U << 20U;  // 2^6 and 2^4 bytes; 4 KiB pages
    registers_.write<std::uint32_t>(configuration, on ? entry_sizes | 1U : 0U);
    const auto steps = registers_.read<std::uint64_t>(capabilities) >> 24U & 0xffU;
    const auto deadline = std::chrono::steady_clock::now() + steps * std::chrono::milliseconds{500};
    while ((registers_.read<std::uint32_t>(status) & 1U) != (on ? 1U : 0U)) {
      if (std::chrono::steady_clock::now() > deadline)
        return tether::failure(tether::error::from_errno("start or stop NVMe", ETIMEDOUT));
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return {};
  }

  void start() {
    must(enable(false));
    registers_.write<std::uint32_t>(admin_sizes,
                                    (queue_pair::entries - 1) << 16U | (queue_pair::entries - 1));
    registers_.write<std::uint64_t>(admin_submissions, memory_.at().value);
    registers_.write<std::uint64_t>(admin_completions, memory_.at(page).value);
    vectors_ = must(device_.interrupts(VFIO_PCI_MSIX_IRQ_INDEX)).vectors;
    std::array<std::int32_t, 2> eventfds{};
    for (std::size_t i = 0; i != eventfds.size(); ++i) {
      signals_[i] =
          descriptor{tether::linux_kernel::call(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK)};
      eventfds[i] = signals_[i].number();
    }
    must(device_.signal_interrupts(VFIO_PCI_MSIX_IRQ_INDEX, 0, eventfds));
    must(enable(true));
  }

  /// Asks for one of its descriptions: it is in the last page of its memory then.
  std::byte const* described(std::uint32_t which, std::uint32_t space) {
    constexpr std::uint64_t offset = 2 * queue_pair::size;
    must(admin_.run("NVMe identify", {.opcode = 0x06,
                                      .space = space,
                                      .pages = {memory_.at(offset).value, 0},
                                      .words = {which}}));
    return memory_.data() + offset;
  }
  template <class T>
  static T number_at(std::byte const* from, std::size_t offset) noexcept {
    T value{};
    std::memcpy(&value, from + offset, sizeof value);
    return value;
  }
  static std::string text_at(std::byte const* from, std::size_t offset, std::size_t size) {
    std::string text(reinterpret_cast<char const*>(from) + offset, size);
    return text.erase(text.find_last_not_of(' ') + 1);
  }
  void identify() {
    auto const* said = described(1, 0);
    name_ = text_at(said, 24, 40) + ", serial number " + text_at(said, 4, 20);
    said = described(0, all_of_it);
    blocks_ = number_at<std::uint64_t>(said, 0);
    const std::size_t format = number_at<std::uint8_t>(said, 26) & 0xfU;
    block_size_ = std::uint64_t{1} << number_at<std::uint8_t>(said, 128 + 4 * format + 2);
  }
  void make_io_queues() {
    constexpr std::uint32_t shape = (queue_pair::entries - 1) << 16U | 1U;  // number 1
    constexpr std::uint32_t in_one_piece = 1;
    constexpr std::uint32_t interrupts = 1U << 1U | 1U << 16U;  // of vector 1
    must(admin_.run("make NVMe completion queue",
                    {.opcode = 0x05,
                     .pages = {memory_.at(queue_pair::size + page).value, 0},
                     .words = {shape, in_one_piece | interrupts}}));
    must(admin_.run("make NVMe submission queue", {.opcode = 0x01,
                                                   .pages = {memory_.at(queue_pair::size).value, 0},
                                                   .words = {shape, 1U << 16U | in_one_piece}}));
  }

  /// A command for each page at most: one that is longer would need a list of its pages.
  tether::result<void> transfer(char const* what, std::uint8_t opcode, std::uint64_t block,
                                std::span<std::byte> memory) {
    while (!memory.empty()) {
      const auto now = std::min<std::uint64_t>(memory.size(), page);
      const auto at = buffers_.translate(memory.data(), now);
      if (!at) return tether::failure(at.error());
      // Where it does not begin a page, it may end in the next one.
      const std::uint64_t next = (at->value / page + 1) * page;
      const auto done = io_.run(
          what,
          {.opcode = opcode,
           .space = all_of_it,
           .pages = {at->value, at->value + now > next ? next : 0},
           .words = {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32U),
                     static_cast<std::uint32_t>(now / block_size_ - 1)}},
          waits_on_);
      if (!done) return tether::failure(done.error());
      memory = memory.subspan(now);
      block += now / block_size_;
    }
    return {};
  }

  using descriptor = tether::kernel_descriptor<tether::linux_kernel>;

  tether::vfio_device& device_;
  Buffers& buffers_;
  std::array<descriptor, 2> signals_{};
  tether::bar_view registers_;
  user_driver::dma_memory<Buffers> memory_;  // both queue pairs, and a page for descriptions
  queue_pair admin_;
  queue_pair io_;
  std::string name_;
  std::uint64_t blocks_ = 0;
  std::uint64_t block_size_ = 0;
  std::uint32_t vectors_ = 0;
  int waits_on_ = -1;
};

}  // namespace nvme
