// SPDX-License-Identifier: BSL-1.0
// virtio-mem: queue and configuration of the device whose blocks `tether::virtio_mem` plugs and
// unplugs. Source: virtio 1.2, 5.15.
#pragma once

#include "guest_memory.hpp"
#include "virtio_mmio.hpp"

#include <tether/discard/virtio_mem.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace vmm {

class memory_device final : public virtio_device {
 public:
  memory_device(std::unique_ptr<tether::virtio_mem<>> model, guest_memory const& memory)
      : model_{std::move(model)}, memory_{memory} {}

  [[nodiscard]] tether::virtio_mem<>& model() noexcept { return *model_; }
  [[nodiscard]] tether::virtio_mem<> const& model() const noexcept { return *model_; }
  /// Requests that were answered with anything but ACK, and why the last one was busy.
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }
  [[nodiscard]] std::string const& why() const noexcept { return why_; }

  [[nodiscard]] std::uint32_t id() const override { return 24; }
  [[nodiscard]] std::uint64_t features() const override {
    return virtio_version_1 | unplugged_inaccessible;
  }
  [[nodiscard]] std::uint32_t queues() const override { return 1; }
  void start(std::uint64_t) override {}

  bool handle(std::uint32_t, request const& asked, virtqueue& queue) override {
    const auto wire = memory_.copy(asked.readable, 4 * tether::KiB);
    if (!wire) return false;
    std::array<std::byte, 16> answer{};
    std::uint64_t room = 0;
    for (segment const& one : asked.writable) room += one.bytes;
    const auto outcome =
        model_->handle(*wire, std::span{answer}.first(room < answer.size() ? room : answer.size()));
    if (outcome.response != tether::virtio_mem_response::ack) ++refused_;
    if (outcome.why) why_ = outcome.why->sentence();
    if (outcome.broken() ||
        !memory_.write(asked.writable, std::span{answer}.first(outcome.written)))
      return false;
    queue.complete(memory_, asked, static_cast<std::uint32_t>(outcome.written));
    return true;
  }

  void reset() override {}  // changes no block: only a reset of the whole machine does
  [[nodiscard]] std::vector<std::byte> configuration() const override {
    const auto wire = model_->config_space();
    return {wire.begin(), wire.end()};
  }

 private:
  static constexpr std::uint64_t unplugged_inaccessible = 1U << 1;

  std::unique_ptr<tether::virtio_mem<>> model_;
  guest_memory const& memory_;
  std::uint64_t refused_ = 0;
  std::string why_;
};

}  // namespace vmm
