// SPDX-License-Identifier: BSL-1.0
// A backend that is nothing but its system calls. They are declared and never defined where code is
// generated, so each stays visible as a call: generic and hand-written code are compared around the
// very same ones.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

extern "C" {
// Each stands for an ioctl, and answers 0 or an errno.
int codegen_map(int container, std::uint64_t iova, std::uint64_t size, std::uint64_t host,
                unsigned rights) noexcept;
int codegen_unmap(int container, std::uint64_t iova, std::uint64_t size) noexcept;
int codegen_join(int container, int group) noexcept;
int codegen_leave(int container, int group) noexcept;
int codegen_classify(int group, char const* device) noexcept;  // 0: pins, 1: pins on demand
int codegen_open(int group, char const* device) noexcept;
int codegen_close(int device) noexcept;
int codegen_wait(int container) noexcept;
int codegen_destroy(int container) noexcept;
}

namespace codegen {

/// Words for a failure are found out of line, or no act of a backend would be small enough to be
/// inlined.
[[nodiscard, gnu::cold, gnu::noinline]] inline tether::error refusal(const char* operation,
                                                                     int answer) noexcept {
  return tether::error::from_errno(operation, answer);
}
/// Answers what a call answered.
[[nodiscard, gnu::always_inline]] inline tether::result<void> as_result(const char* operation,
                                                                        int answer) noexcept {
  if (answer != 0) [[unlikely]]
    return tether::failure(refusal(operation, answer));
  return {};
}

struct fake_group {
  std::string_view called;
  int number;
  [[nodiscard]] std::string_view name() const noexcept { return called; }
};
struct fake_joined {
  int number;
};
struct fake_device {
  int number;
};

/// `Pins` is the backend's shape: whether anything must be held down for it.
template <bool Pins>
struct fake_iommu {
  static constexpr bool pins = Pins;
  static constexpr tether::attach_unit unit = tether::attach_unit::group;
  using group_type = fake_group;
  using joined_group = fake_joined;
  using device_type = fake_device;

  int container = 0;

  [[nodiscard]] tether::result<void> map(tether::mapping const& what) noexcept {
    return as_result("map", codegen_map(container, what.where.first.value, what.where.size(),
                                        what.host.value, static_cast<unsigned>(what.rights)));
  }
  [[nodiscard]] tether::result<void> unmap(tether::extent<tether::io_address> where) noexcept {
    return as_result("unmap", codegen_unmap(container, where.first.value, where.size()));
  }

  [[nodiscard]] tether::page_sizes page_sizes() const noexcept {
    return {4 * tether::KiB | 2 * tether::MiB | tether::GiB};
  }
  [[nodiscard]] std::span<tether::extent<tether::io_address> const> usable_iova() const noexcept {
    return everything;
  }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept { return 65535; }

  [[nodiscard]] tether::result<joined_group> join(group_type const& group) noexcept {
    if (const int answer = codegen_join(container, group.number); answer != 0) [[unlikely]]
      return tether::failure(refusal("join", answer));
    return joined_group{group.number};
  }
  [[nodiscard]] tether::result<void> leave(joined_group& group) noexcept {
    return as_result("leave", codegen_leave(container, group.number));
  }
  [[nodiscard]] tether::result<tether::pin_class> classify(joined_group& group,
                                                           std::string_view device) noexcept {
    return codegen_classify(group.number, device.data()) == 0 ? tether::pin_class::pins
                                                              : tether::pin_class::pins_on_demand;
  }
  [[nodiscard]] tether::result<device_type> open(joined_group& group,
                                                 std::string_view device) noexcept {
    const int answer = codegen_open(group.number, device.data());
    if (answer < 0) [[unlikely]]
      return tether::failure(refusal("open", -answer));
    return device_type{answer};
  }
  [[nodiscard]] tether::result<void> close(device_type& device) noexcept {
    return as_result("close", codegen_close(device.number));
  }
  [[nodiscard]] tether::result<void> quiesce() noexcept {
    return as_result("quiesce", codegen_wait(container));
  }
  [[nodiscard]] tether::result<void> abandon() noexcept {
    return as_result("abandon", codegen_destroy(container));
  }

 private:
  static constexpr std::array everything{tether::extent<tether::io_address>::everything()};
};

static_assert(tether::backend<fake_iommu<true>> && tether::backend<fake_iommu<false>>);

}  // namespace codegen
