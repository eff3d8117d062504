// SPDX-License-Identifier: BSL-1.0
// A decorator of any backend: every operation is recorded in a journal, can be made to fail there,
// and can be preceded and followed by a hook. For tests of containers, users' own backends
// included.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/testing/journal.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace tether {

namespace detail {

/// The types of what `Backend` attaches.
template <class Backend, attach_unit Unit = Backend::unit>
struct recorded_names {
  using group_type = typename Backend::group_type;
  using joined_group = typename Backend::joined_group;
  struct endpoint_type {};
};
template <class Backend>
struct recorded_names<Backend, attach_unit::device> {
  struct group_type {};
  struct joined_group {};
  using endpoint_type = typename Backend::endpoint_type;
};

}  // namespace detail

/// A backend that forwards to `Backend` and records each call. It pins, attaches, counts and opens
/// exactly as that does.
///
///     journal calls;
///     recording<software_iommu> iommu{calls};
///     calls.fail_at(backend_call::map, 2, error{"map", errc::over_budget});
template <class Backend>
class recording : public detail::recorded_names<Backend> {
 public:
  static constexpr bool pins = Backend::pins;
  static constexpr attach_unit unit = Backend::unit;
  static constexpr bool of_groups = unit == attach_unit::group;
  static constexpr bool open_may_pin = may_pin_at_open<Backend>;
  using typename detail::recorded_names<Backend>::group_type;
  using typename detail::recorded_names<Backend>::joined_group;
  using typename detail::recorded_names<Backend>::endpoint_type;
  using device_type = typename Backend::device_type;
  using kernel_type = kernel_of<Backend>;

  /// Keeps a journal of its own, reached through `log()`. Fails: may throw `std::bad_alloc`.
  recording()
    requires std::default_initializable<Backend>
      : recording{Backend{}} {}
  explicit recording(Backend watched)
      : own_{std::make_unique<journal>()}, journal_{own_.get()}, watched_{std::move(watched)} {}
  /// Writes into `target`. Requires: `target` outlives this.
  explicit recording(journal& target)
    requires std::default_initializable<Backend>
      : journal_{&target} {}
  recording(journal& target, Backend watched) noexcept
      : journal_{&target}, watched_{std::move(watched)} {}

  /// The journal it writes into. Ensures: the reference stays valid when this is moved.
  [[nodiscard]] journal& log() const noexcept { return *journal_; }
  /// The backend that it forwards to: calls made there are not recorded.
  [[nodiscard]] Backend& watched() noexcept { return watched_; }
  [[nodiscard]] Backend const& watched() const noexcept { return watched_; }

  // As `Backend`'s own, and recorded unless they cannot fail.
  [[nodiscard]] result<void> map(mapping const& what) noexcept {
    return ask<result<void>>(backend_call::map, what.where, {},
                             [&]() noexcept { return watched_.map(what); });
  }
  [[nodiscard]] result<void> map(mapping const& what, file_source from) noexcept
    requires maps_files<Backend>
  {
    return ask<result<void>>(backend_call::map, what.where, {},
                             [&]() noexcept { return watched_.map(what, from); });
  }
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    return ask<result<void>>(backend_call::unmap, where, {},
                             [&]() noexcept { return watched_.unmap(where); });
  }

  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return watched_.page_sizes(); }
  [[nodiscard]] std::span<extent<io_address> const> usable_iova() const noexcept {
    return watched_.usable_iova();
  }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept { return watched_.free_mappings(); }

  [[nodiscard]] bool pins_now() const noexcept
    requires reports_pinning<Backend>
  {
    return watched_.pins_now();
  }

  [[nodiscard]] bool is_moved_from() const noexcept
    requires requires(Backend const& that) { that.is_moved_from(); }
  {
    return watched_.is_moved_from();
  }

  /// As the watched backend does. Not recorded: nothing is changed by it.
  [[nodiscard]] auto locate(endpoint const& device) const noexcept
    requires locates_endpoints<Backend>
  {
    return watched_.locate(device);
  }

  // Where groups are attached.
  [[nodiscard]] result<joined_group> join(group_type const& group) noexcept
    requires of_groups
  {
    return ask<result<joined_group>>(backend_call::join, {}, group.name(),
                                     [&]() noexcept { return watched_.join(group); });
  }
  [[nodiscard]] result<joined_group> acquire(group_type const& group) noexcept
    requires(of_groups && has_kvm_file<Backend>)
  {
    return ask<result<joined_group>>(backend_call::acquire, {}, group.name(),
                                     [&]() noexcept { return watched_.acquire(group); });
  }
  [[nodiscard]] result<void> join(joined_group& joined) noexcept
    requires(of_groups && has_kvm_file<Backend>)
  {
    return ask<result<void>>(backend_call::join, {}, name_of_handle(joined),
                             [&]() noexcept { return watched_.join(joined); });
  }
  [[nodiscard]] result<void> leave(joined_group& joined) noexcept
    requires of_groups
  {
    return ask<result<void>>(backend_call::leave, {}, name_of_handle(joined),
                             [&]() noexcept { return watched_.leave(joined); });
  }
  [[nodiscard]] result<pin_class> classify(joined_group& joined, std::string_view name) noexcept
    requires of_groups
  {
    return watched_.classify(joined, name);
  }
  [[nodiscard]] result<device_type> open(joined_group& joined, std::string_view name) noexcept
    requires of_groups
  {
    return ask<result<device_type>>(backend_call::open, {}, name,
                                    [&]() noexcept { return watched_.open(joined, name); });
  }
  [[nodiscard]] static int kvm_file(joined_group const& joined) noexcept
    requires(of_groups && has_kvm_file<Backend>)
  {
    return Backend::kvm_file(joined);
  }

  // Where devices are attached one by one.
  [[nodiscard]] result<pin_class> classify(endpoint_type const& endpoint) noexcept
    requires(!of_groups)
  {
    return watched_.classify(endpoint);
  }
  [[nodiscard]] pin_class classify(device_type const& device) noexcept
    requires(!of_groups && classifies_opened_device<Backend>)
  {
    return watched_.classify(device);
  }
  [[nodiscard]] result<device_type> open(endpoint_type const& endpoint) noexcept
    requires(!of_groups)
  {
    return ask<result<device_type>>(backend_call::open, {}, endpoint.name(),
                                    [&]() noexcept { return watched_.open(endpoint); });
  }
  [[nodiscard]] result<void> bind(device_type& device) noexcept
    requires(!of_groups)
  {
    return ask<result<void>>(backend_call::bind, {}, name_of_handle(device),
                             [&]() noexcept { return watched_.bind(device); });
  }
  [[nodiscard]] result<void> join(device_type& device) noexcept
    requires(!of_groups)
  {
    return ask<result<void>>(backend_call::join, {}, name_of_handle(device),
                             [&]() noexcept { return watched_.join(device); });
  }
  [[nodiscard]] result<void> leave(device_type& device) noexcept
    requires(!of_groups)
  {
    return ask<result<void>>(backend_call::leave, {}, name_of_handle(device),
                             [&]() noexcept { return watched_.leave(device); });
  }
  [[nodiscard]] static int kvm_file(device_type const& device) noexcept
    requires(!of_groups && has_kvm_file<Backend>)
  {
    return Backend::kvm_file(device);
  }

  [[nodiscard]] result<void> close(device_type& device) noexcept {
    return ask<result<void>>(backend_call::close, {}, name_of_handle(device),
                             [&]() noexcept { return watched_.close(device); });
  }
  [[nodiscard]] bool tell_when_unused(device_type& device, unused_notice& who) noexcept
    requires tells_when_unused<Backend>
  {
    return watched_.tell_when_unused(device, who);
  }
  [[nodiscard]] result<void> quiesce() noexcept {
    return ask<result<void>>(backend_call::quiesce, {}, {},
                             [&]() noexcept { return watched_.quiesce(); });
  }
  [[nodiscard]] result<void> abandon() noexcept {
    return ask<result<void>>(backend_call::abandon, {}, {},
                             [&]() noexcept { return watched_.abandon(); });
  }

 private:
  template <class Answer, class Run>
  Answer ask(backend_call what, std::optional<extent<io_address>> where, std::string_view subject,
             Run run) noexcept {
    return journal_->template record<Answer>(what, where, subject, run);
  }
  template <class Handle>
  [[nodiscard]] static std::string_view name_of_handle(Handle const& handle) noexcept {
    if constexpr (named<Handle>) return handle.name();
    else if constexpr (requires {
                         { *handle } -> named;
                       })
      return handle->name();
    else return {};
  }

  std::unique_ptr<journal> own_;
  journal* journal_;
  Backend watched_;
};

}  // namespace tether
