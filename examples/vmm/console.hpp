// SPDX-License-Identifier: BSL-1.0
// A serial port, as far as a kernel's early console and a guest's program need one: what is written
// comes out on standard output, what the `say` command types can be read.
#pragma once

#include <cstdint>
#include <cstdio>
#include <deque>
#include <mutex>
#include <string_view>

namespace vmm {

class console {
 public:
  static constexpr std::uint16_t first_port = 0x3f8;
  static constexpr std::uint16_t last_port = 0x3ff;

  std::uint8_t read(std::uint16_t port) {
    const std::lock_guard lock{mutex_};
    if (port == line_status) return static_cast<std::uint8_t>(can_write | (typed_.empty() ? 0 : 1));
    if (port != first_port || typed_.empty()) return 0;
    const auto next = static_cast<std::uint8_t>(typed_.front());
    typed_.pop_front();
    return next;
  }
  void write(std::uint16_t port, std::uint8_t value) {
    if (port != first_port) return;
    std::putchar(value);
    if (value == '\n') std::fflush(stdout);
  }
  /// Types a line.
  void type(std::string_view line) {
    const std::lock_guard lock{mutex_};
    typed_.insert(typed_.end(), line.begin(), line.end());
    typed_.push_back('\n');
  }

 private:
  static constexpr std::uint16_t line_status = first_port + 5;
  static constexpr std::uint8_t can_write = 0x60;

  std::mutex mutex_;
  std::deque<char> typed_;
};

}  // namespace vmm
