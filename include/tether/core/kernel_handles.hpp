// SPDX-License-Identifier: BSL-1.0
// RAII owners of what a backend gets from the kernel: file descriptors and areas of memory, each
// released once, through the same kernel seam that it came from.
#pragma once

#include <tether/core/kernel.hpp>

#include <cstdint>
#include <utility>

namespace tether {

/// A file descriptor that closes itself. Negative: none.
template <class Kernel>
class kernel_descriptor {
 public:
  kernel_descriptor() noexcept = default;
  /// Owns what a call opened. Nothing if it failed.
  explicit kernel_descriptor(typename Kernel::answer opened) noexcept
      : number_{static_cast<int>(opened)} {}
  kernel_descriptor(kernel_descriptor&& other) noexcept
      : number_{std::exchange(other.number_, -1)} {}
  kernel_descriptor& operator=(kernel_descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~kernel_descriptor() {
    if (number_ >= 0) static_cast<void>(Kernel::close(number_));
  }

  /// The descriptor; negative if there is none.
  [[nodiscard]] int number() const noexcept { return number_; }

 private:
  int number_ = -1;
};

/// An area of memory that unmaps itself. Units: bytes.
template <class Kernel>
class kernel_area {
 public:
  kernel_area() noexcept = default;
  /// Owns what a call mapped. Nothing if it failed.
  kernel_area(typename Kernel::answer mapped, std::uint64_t size) noexcept
      : at_{static_cast<std::uint64_t>(mapped)}, size_{size} {}
  kernel_area(kernel_area&& other) noexcept
      : at_{other.at_}, size_{std::exchange(other.size_, 0)} {}
  kernel_area& operator=(kernel_area&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~kernel_area() {
    if (size_ != 0) static_cast<void>(Kernel::munmap(at_, size_));
  }

  /// Bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// What lies at `offset` bytes. Requires: it is a `T`, and inside.
  template <class T>
  [[nodiscard]] T* as(std::uint64_t offset = 0) const noexcept {
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(at_ + offset));
  }

 private:
  std::uint64_t at_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace tether
