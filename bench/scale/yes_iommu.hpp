// SPDX-License-Identifier: BSL-1.0
// A backend that says yes: it counts mappings against type1's limit, and keeps nothing.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace scale {

struct group {
  std::string called;
  [[nodiscard]] std::string_view name() const noexcept { return called; }
};
struct joined {};
struct device {};

/// Requires: what is unmapped was mapped as one, as whole sections are.
class yes_iommu {
 public:
  static constexpr bool pins = true;
  static constexpr tether::attach_unit unit = tether::attach_unit::group;
  static constexpr std::uint64_t budget = 65'535;
  using group_type = group;
  using joined_group = joined;
  using device_type = device;

  [[nodiscard]] tether::result<void> map(tether::mapping const&) noexcept {
    ++mappings_;
    return {};
  }
  [[nodiscard]] tether::result<void> unmap(tether::extent<tether::io_address>) noexcept {
    --mappings_;
    return {};
  }
  [[nodiscard]] static tether::page_sizes page_sizes() noexcept {
    return {4 * tether::KiB | 2 * tether::MiB | tether::GiB};
  }
  [[nodiscard]] static std::span<tether::extent<tether::io_address> const> usable_iova() noexcept {
    return everything;
  }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept { return budget - mappings_; }

  [[nodiscard]] static tether::result<joined> join(group const&) noexcept { return joined{}; }
  [[nodiscard]] static tether::result<void> leave(joined&) noexcept { return {}; }
  [[nodiscard]] static tether::result<tether::pin_class> classify(joined&,
                                                                  std::string_view) noexcept {
    return tether::pin_class::pins;
  }
  [[nodiscard]] static tether::result<device> open(joined&, std::string_view) noexcept {
    return device{};
  }
  [[nodiscard]] static tether::result<void> close(device&) noexcept { return {}; }
  [[nodiscard]] static tether::result<void> quiesce() noexcept { return {}; }
  [[nodiscard]] tether::result<void> abandon() noexcept {
    mappings_ = 0;
    return {};
  }

 private:
  static constexpr std::array everything{tether::extent<tether::io_address>::everything()};
  std::uint64_t mappings_ = 0;
};

static_assert(tether::backend<yes_iommu>);

}  // namespace scale
