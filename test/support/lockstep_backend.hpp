// SPDX-License-Identifier: BSL-1.0
// The kernel's side of the lockstep test: a backend of two groups with two devices each that keeps
// what a kernel would know, and nothing else. What a kernel must refuse is refused, and counted.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace tether_test::lockstep {

inline constexpr std::size_t groups = 2;   ///< of each container
inline constexpr std::size_t devices = 2;  ///< of each group

struct device_facts {
  bool open = false;
  bool bound = false;
  bool joined = false;
  bool told = false;
  bool kept_by_kernel = false;  ///< opened by a call that got stuck: there is no handle to it

  friend bool operator==(device_facts const&, device_facts const&) = default;
};
struct group_facts {
  bool acquired = false;
  bool joined = false;
  bool told = false;
  std::array<device_facts, devices> of{};
};
/// What a kernel knows of one container.
struct kernel_facts {
  std::array<group_facts, groups> all{};
  std::vector<tether::extent<tether::io_address>> mapped{};
  /// the next group or device that is opened stays open, whatever becomes of its handle
  bool next_handle_is_lost = false;
  std::uint32_t forbidden = 0;  ///< calls that a kernel must refuse
  std::uint32_t dropped = 0;    ///< handles that were destroyed in use

  [[nodiscard]] bool nothing_left() const {
    return mapped.empty() && std::ranges::none_of(all, [](group_facts const& group) {
             return group.acquired || group.joined || group.told ||
                    std::ranges::any_of(
                        group.of, [](device_facts const& one) { return one != device_facts{}; });
           });
  }
};

/// Names are literals, so that handles carry them without an allocation.
[[nodiscard]] inline std::string_view name_of_group(std::size_t container, std::size_t group) {
  constexpr std::string_view names[2][groups]{{"a0", "a1"}, {"b0", "b1"}};
  return names[container][group];
}
[[nodiscard]] inline std::string_view name_of_device(std::size_t container, std::size_t group,
                                                     std::size_t device) {
  constexpr std::string_view names[2][groups][devices]{{{"a0.0", "a0.1"}, {"a1.0", "a1.1"}},
                                                       {{"b0.0", "b0.1"}, {"b1.0", "b1.1"}}};
  return names[container][group][device];
}
/// The number in a name: of a group, or of a device in its group.
[[nodiscard]] inline std::size_t last_digit(std::string_view name) {
  return static_cast<std::size_t>(name.back() - '0');
}
[[nodiscard]] inline std::size_t group_digit(std::string_view name) {
  return static_cast<std::size_t>(name[1] - '0');
}

/// A group, and a device, as a caller describes them.
struct described_group {
  std::string_view called;
  tether::pin_class pins;
  [[nodiscard]] std::string_view name() const noexcept { return called; }
};
struct described_device {
  std::string_view called;
  std::string_view in;
  tether::pin_class pins;
  [[nodiscard]] std::string_view name() const noexcept { return called; }
  [[nodiscard]] std::string_view group() const noexcept { return in; }
};

/// Owns a group's descriptor, or an open device: `Let_go` closes it.
template <class Facts, void (*Let_go)(kernel_facts&, Facts&) noexcept>
class handle {
 public:
  handle(kernel_facts& kernel, Facts& of, std::string_view name, tether::pin_class pins) noexcept
      : kernel_{&kernel},
        of_{kernel.next_handle_is_lost ? nullptr : &of},
        name_{name},
        pins_{pins} {}
  handle(handle&& other) noexcept
      : kernel_{other.kernel_},
        of_{std::exchange(other.of_, nullptr)},
        name_{other.name_},
        pins_{other.pins_} {}
  handle& operator=(handle&& other) noexcept {
    if (this == &other) return *this;
    if (of_ != nullptr) Let_go(*kernel_, *of_);
    kernel_ = other.kernel_, of_ = std::exchange(other.of_, nullptr), name_ = other.name_,
    pins_ = other.pins_;
    return *this;
  }
  ~handle() {
    if (of_ != nullptr) Let_go(*kernel_, *of_);
  }
  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  [[nodiscard]] tether::pin_class pins() const noexcept { return pins_; }

 private:
  kernel_facts* kernel_;
  Facts* of_;
  std::string_view name_;
  tether::pin_class pins_;
};

inline void let_go_of_group(kernel_facts& kernel, group_facts& group) noexcept {
  kernel.dropped += group.joined || group.told ? 1U : 0U;
  group.acquired = false;
}
inline void let_go_of_device(kernel_facts& kernel, device_facts& device) noexcept {
  kernel.dropped += device.open || device.told ? 1U : 0U;
  device = {};
}

/// The backend. It reports that it pins, or that it does not; nothing is really pinned.
template <bool Pins, tether::attach_unit Unit>
class iommu {
  static constexpr bool of_groups = Unit == tether::attach_unit::group;

 public:
  static constexpr bool pins = Pins;
  static constexpr tether::attach_unit unit = Unit;
  using group_type = described_group;
  using joined_group = handle<group_facts, let_go_of_group>;
  using endpoint_type = described_device;
  using device_type = handle<device_facts, let_go_of_device>;
  using extent = tether::extent<tether::io_address>;

  explicit iommu(kernel_facts& facts) noexcept : kernel_{&facts} {}

  [[nodiscard]] tether::result<void> map(tether::mapping const& what) noexcept {
    const bool overlaps = std::ranges::any_of(
        kernel_->mapped, [&](extent const& one) { return one.overlaps(what.where); });
    if (auto legal = allow(!overlaps && reaches(), "map"); !legal) return legal;
    kernel_->mapped.push_back(what.where);
    return {};
  }
  [[nodiscard]] tether::result<void> unmap(extent where) noexcept {
    std::uint64_t bytes = 0;
    for (extent const& one : kernel_->mapped) bytes += where.contains(one) ? one.size() : 0;
    if (auto legal = allow(bytes == where.size() && reaches(), "unmap"); !legal) return legal;
    std::erase_if(kernel_->mapped, [&](extent const& one) { return where.contains(one); });
    return {};
  }
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return {4 * tether::KiB}; }
  [[nodiscard]] std::span<extent const> usable_iova() const noexcept { return usable; }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept { return 64 - kernel_->mapped.size(); }

  // Groups.
  [[nodiscard]] tether::result<joined_group> acquire(group_type const& group) noexcept
    requires of_groups
  {
    group_facts& it = group_called(group.called);
    if (auto legal = allow(!it.acquired, "acquire"); !legal) return tether::failure(legal.error());
    it.acquired = true;
    return joined_group{*kernel_, it, group.called, group.pins};
  }
  [[nodiscard]] tether::result<void> join(joined_group& joined) noexcept
    requires of_groups
  {
    group_facts& it = group_called(joined.name());
    if (auto legal = allow(it.acquired && !it.joined, "join"); !legal) return legal;
    it.joined = true;
    return {};
  }
  [[nodiscard]] tether::result<joined_group> join(group_type const& group) noexcept
    requires of_groups
  {
    auto acquired = acquire(group);
    if (!acquired) return acquired;
    if (auto joined = join(*acquired); !joined) return tether::failure(joined.error());
    return acquired;
  }
  [[nodiscard]] tether::result<void> leave(joined_group& joined) noexcept
    requires of_groups
  {
    group_facts& it = group_called(joined.name());
    const bool busy = std::ranges::any_of(it.of, &device_facts::open);
    if (auto legal = allow(it.joined && !busy, "leave"); !legal) return legal;
    it.joined = false;
    return {};
  }
  [[nodiscard]] tether::result<tether::pin_class> classify(joined_group& joined,
                                                           std::string_view) noexcept
    requires of_groups
  {
    return joined.pins();
  }
  [[nodiscard]] tether::result<device_type> open(joined_group& joined,
                                                 std::string_view name) noexcept
    requires of_groups
  {
    if (auto legal = allow(group_called(joined.name()).joined, "open"); !legal)
      return tether::failure(legal.error());
    return opened(name, joined.pins());
  }
  [[nodiscard]] static int kvm_file(joined_group const& joined) noexcept
    requires of_groups
  {
    return static_cast<int>(last_digit(joined.name()));
  }

  // Single devices.
  [[nodiscard]] tether::result<tether::pin_class> classify(endpoint_type const& device) noexcept {
    return device.pins;
  }
  [[nodiscard]] tether::result<device_type> open(endpoint_type const& device) noexcept
    requires(!of_groups)
  {
    return opened(device.called, device.pins);
  }
  [[nodiscard]] tether::result<void> bind(device_type& device) noexcept
    requires(!of_groups)
  {
    device_facts& it = device_called(device.name());
    if (auto legal = allow(it.open && !it.bound, "bind"); !legal) return legal;
    it.bound = true;
    return {};
  }
  [[nodiscard]] tether::result<void> join(device_type& device) noexcept
    requires(!of_groups)
  {
    device_facts& it = device_called(device.name());
    if (auto legal = allow(it.bound && !it.joined, "join"); !legal) return legal;
    it.joined = true;
    return {};
  }
  [[nodiscard]] tether::result<void> leave(device_type& device) noexcept
    requires(!of_groups)
  {
    device_facts& it = device_called(device.name());
    if (auto legal = allow(it.joined, "leave"); !legal) return legal;
    it.joined = false;
    return {};
  }
  [[nodiscard]] static int kvm_file(device_type const& device) noexcept
    requires(!of_groups)
  {
    return static_cast<int>(last_digit(device.name()));
  }

  [[nodiscard]] tether::result<void> close(device_type& device) noexcept {
    device_facts& it = device_called(device.name());
    if (auto legal = allow(it.open && !it.joined, "close"); !legal) return legal;
    it.open = it.bound = false;
    return {};
  }
  [[nodiscard]] tether::result<void> quiesce() noexcept { return {}; }
  /// Also releases whatever has no handle.
  [[nodiscard]] tether::result<void> abandon() noexcept {
    for (group_facts& group : kernel_->all) {
      for (device_facts& device : group.of) {
        if (device.kept_by_kernel) device = {};
        if (of_groups && device.open)
          return tether::failure(tether::error{"abandon", tether::errc::still_in_use});
        device.joined = false;
      }
      group.joined = group.acquired = false;
    }
    kernel_->mapped.clear();
    return {};
  }

 private:
  tether::result<void> allow(bool legal, const char* what) noexcept {
    if (legal) return {};
    kernel_->forbidden += 1;
    return tether::failure(tether::error{what, tether::errc::still_in_use});
  }
  [[nodiscard]] bool reaches() const noexcept {
    return std::ranges::any_of(kernel_->all, [](group_facts const& group) {
      return of_groups ? group.joined : std::ranges::any_of(group.of, &device_facts::joined);
    });
  }
  group_facts& group_called(std::string_view name) noexcept {
    return kernel_->all[group_digit(name)];
  }
  device_facts& device_called(std::string_view name) noexcept {
    return group_called(name).of[last_digit(name)];
  }
  tether::result<device_type> opened(std::string_view name, tether::pin_class is) noexcept {
    device_facts& it = device_called(name);
    if (auto legal = allow(!it.open, "open"); !legal) return tether::failure(legal.error());
    it.open = true;
    it.kept_by_kernel = kernel_->next_handle_is_lost;
    // The name that the caller gave lives as long as the caller's record of the device; this one
    // forever.
    return device_type{*kernel_, it,
                       name_of_device(name[0] == 'a' ? 0 : 1, group_digit(name), last_digit(name)),
                       is};
  }

  static constexpr extent usable[]{{tether::io_address{0}, tether::io_address{0xffff'ffff}}};
  kernel_facts* kernel_;
};

}  // namespace tether_test::lockstep
