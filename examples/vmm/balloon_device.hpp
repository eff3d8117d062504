// SPDX-License-Identifier: BSL-1.0
// virtio-balloon: queues and configuration of the device whose memory `tether::balloon` and
// `tether::page_reporting` discard. Source: virtio 1.2, 5.5.
#pragma once

#include "guest_memory.hpp"
#include "virtio_mmio.hpp"

#include <tether/discard/balloon.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/discard/report.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace vmm {

class balloon_device final : public virtio_device {
 public:
  balloon_device(tether::address_space const& guest, tether::discard_gate<>& gate,
                 guest_memory const& memory)
      : guest_{guest}, gate_{gate}, memory_{memory}, reporting_{guest, gate} {}

  /// What the guest shall give, and what it says it has given. Units: bytes.
  [[nodiscard]] std::uint64_t target() const { return target_ * tether::frame_size; }
  [[nodiscard]] std::uint64_t actual() const { return actual_ * tether::frame_size; }
  void set_target(std::uint64_t bytes) {
    target_ = static_cast<std::uint32_t>(bytes / tether::frame_size);
  }
  /// All that was inflated, deflated and reported since the start.
  [[nodiscard]] tether::discard_report const& inflated() const { return inflated_; }
  [[nodiscard]] tether::discard_report const& deflated() const { return deflated_; }
  [[nodiscard]] tether::discard_report const& reported() const { return reported_; }
  /// How long the host took for all of `inflated` and `deflated`.
  [[nodiscard]] std::chrono::microseconds time_inflating() const { return inflating_; }
  [[nodiscard]] std::chrono::microseconds time_deflating() const { return deflating_; }
  /// What the guest said last of its free memory, if it did. Units: bytes.
  [[nodiscard]] std::optional<std::uint64_t> guest_free() const { return guest_free_; }
  /// Gives the statistics' buffer back, so that the guest sends new ones.
  void ask_for_statistics(std::span<virtqueue> queues) {
    if (!statistics_ || !statistics_queue_) return;
    queues[*statistics_queue_].complete(memory_, *statistics_, 0);
    statistics_.reset();
  }

  [[nodiscard]] std::uint32_t id() const override { return 5; }
  [[nodiscard]] std::uint64_t features() const override {
    return virtio_version_1 | must_tell_host | has_statistics | deflate_on_oom | has_reporting;
  }
  [[nodiscard]] std::uint32_t queues() const override { return 4; }

  void start(std::uint64_t features) override {
    // a queue whose feature was not accepted takes no number
    std::uint32_t next = 2;
    statistics_queue_ = reporting_queue_ = std::nullopt;
    if ((features & has_statistics) != 0) statistics_queue_ = next++;
    if ((features & has_reporting) != 0) reporting_queue_ = next++;
    balloon_.emplace(guest_, gate_,
                     tether::balloon_options{.must_tell_host = (features & must_tell_host) != 0});
  }

  bool handle(std::uint32_t which, request const& asked, virtqueue& queue) override {
    if (!balloon_) return false;
    if (which == reporting_queue_) {
      std::vector<tether::extent<tether::guest_address>> ranges;
      for (segment const& one : asked.writable) {
        const tether::guest_address first{one.address};
        ranges.push_back({first, first + (one.bytes - 1)});
      }
      reported_ += reporting_.report(ranges);
    } else {
      const auto bytes = memory_.copy(asked.readable, most_bytes);
      if (!bytes) return false;
      if (which == statistics_queue_) {
        if (statistics_) queue.complete(memory_, *statistics_, 0);
        read_statistics(*bytes);
        statistics_ = asked;  // kept until new ones are wanted
        return true;
      }
      if (which > 1) return false;
      const auto begin = std::chrono::steady_clock::now();
      if (which == 0) inflated_ += balloon_->inflate(*bytes);
      else deflated_ += balloon_->deflate(*bytes);
      (which == 0 ? inflating_ : deflating_) +=
          std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                begin);
    }
    queue.complete(memory_, asked, 0);
    return true;
  }

  /// The guest uses all of its memory again: what had gone is brought back before the reset ends.
  void reset() override {
    if (balloon_) deflated_ += balloon_->reset();
    balloon_.reset();
    statistics_.reset();
    actual_ = 0;
  }

  [[nodiscard]] std::vector<std::byte> configuration() const override {
    std::vector<std::byte> all(8);
    std::memcpy(all.data(), &target_, 4);
    std::memcpy(all.data() + actual_at, &actual_, 4);
    return all;
  }
  void write_configuration(std::uint64_t offset, std::span<std::byte const> from) override {
    if (offset == actual_at && from.size() == 4) std::memcpy(&actual_, from.data(), 4);
  }

 private:
  static constexpr std::uint64_t must_tell_host = 1U << 0;
  static constexpr std::uint64_t has_statistics = 1U << 1;
  static constexpr std::uint64_t deflate_on_oom = 1U << 2;
  static constexpr std::uint64_t has_reporting = 1U << 5;
  static constexpr std::uint64_t actual_at = 4;
  static constexpr std::uint64_t most_bytes = 256 * tether::KiB;  // Linux sends 1 KiB

  /// Pairs of a 16-bit tag and a 64-bit value, without padding.
  void read_statistics(std::span<std::byte const> bytes) {
    for (; bytes.size() >= 10; bytes = bytes.subspan(10)) {
      std::uint16_t tag = 0;
      std::uint64_t value = 0;
      std::memcpy(&tag, bytes.data(), sizeof tag);
      std::memcpy(&value, bytes.data() + 2, sizeof value);
      if (tag == 4) guest_free_ = value;  // VIRTIO_BALLOON_S_MEMFREE
    }
  }

  tether::address_space const& guest_;
  tether::discard_gate<>& gate_;
  guest_memory const& memory_;
  tether::page_reporting<> reporting_;
  std::optional<tether::balloon<>> balloon_;
  std::optional<std::uint32_t> statistics_queue_;
  std::optional<std::uint32_t> reporting_queue_;
  std::optional<request> statistics_;
  std::optional<std::uint64_t> guest_free_;
  tether::discard_report inflated_;
  tether::discard_report deflated_;
  tether::discard_report reported_;
  std::chrono::microseconds inflating_{0};
  std::chrono::microseconds deflating_{0};
  std::uint32_t target_ = 0;
  std::uint32_t actual_ = 0;
};

}  // namespace vmm
