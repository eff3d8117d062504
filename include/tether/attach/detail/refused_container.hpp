// SPDX-License-Identifier: BSL-1.0
// What is left of a container that was refused: it takes whatever it is given and answers with the
// right types, so that the program which uses it adds no error to the one that says why. Nothing
// here is ever called: such a program does not compile.
#pragma once

#include <tether/attach/container_status.hpp>
#include <tether/attach/detail/slot_table.hpp>
#include <tether/attach/handles.hpp>
#include <tether/attach/lease.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>
#include <tether/core/slots.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/listen/left_out.hpp>
#include <tether/listen/mapped_usage.hpp>

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tether::detail {

/// The backend that was meant: the first that is one, wherever it stands.
template <class First, class...>
struct meant_backend {
  using type = First;
};
template <class First, class Second, class... Others>
  requires(!backend<First> && (backend<Second> || ... || backend<Others>))
struct meant_backend<First, Second, Others...> : meant_backend<Second, Others...> {};

struct unknown {};
template <class Backend>
struct device_of {
  using type = unknown;
};
template <class Backend>
  requires requires { typename Backend::device_type; }
struct device_of<Backend> {
  using type = typename Backend::device_type;
};
/// What it attaches, by the types that it has, as its `unit` may be what is wrong.
template <class Backend>
inline constexpr bool attaches_by_device = requires { typename Backend::endpoint_type; };
template <class Backend>
struct attachable_of {
  using type = unknown;
};
template <class Backend>
  requires requires { typename Backend::group_type; } && (!attaches_by_device<Backend>)
struct attachable_of<Backend> {
  using type = typename Backend::group_type;
};
template <class Backend>
  requires attaches_by_device<Backend>
struct attachable_of<Backend> {
  using type = typename Backend::endpoint_type;
};

struct refused_ids {
  std::uint64_t group, device;
};

template <class Container, class Backend, class... Policies>
class refused_container {
  using meant = typename meant_backend<Backend, Policies...>::type;
  static constexpr bool of_groups = !attaches_by_device<meant>;

 public:
  using backend_type = meant;
  using device_type = typename device_of<meant>::type;
  using source_type = typename attachable_of<meant>::type;
  using attached =
      std::conditional_t<of_groups, attached_group<Container>, attached_device<Container>>;
  using opened =
      std::conditional_t<of_groups, opened_device<Container>, attached_device<Container>>;

  template <class... Given>
  refused_container(Given&&...) noexcept;
  refused_container(refused_container const&) = delete;
  refused_container& operator=(refused_container const&) = delete;

  template <class Source, class... Others>
  [[nodiscard]] result<attached> attach(Source const&, Others&&...) noexcept;
  template <class... Others>
  [[nodiscard]] result<attached_device<Container>> attach(endpoint const&, Others&&...) noexcept;
  [[nodiscard]] result<void> abandon() noexcept;
  [[nodiscard]] std::vector<attached> all_attached();
  [[nodiscard]] std::string_view name() const noexcept;
  [[nodiscard]] bool diverged() const noexcept;
  [[nodiscard]] mapped_usage usage() const noexcept;
  [[nodiscard]] std::uint64_t trimmed_bytes() const noexcept;
  [[nodiscard]] std::vector<left_out_section> left_out() const;
  [[nodiscard]] std::vector<extent<io_address>> usable_iova() const;
  [[nodiscard]] container_counts membership() const noexcept;
  [[nodiscard]] container_status status() const;
  [[nodiscard]] std::add_lvalue_reference_t<meant> backend() noexcept;
  [[nodiscard]] asked_for<observation_slot, Policies...>& observer() noexcept;
  [[nodiscard]] asked_for<tracing_slot, Policies...>& tracer() noexcept;
  template <class Function>
  decltype(auto) with_observer(Function f) {
    return f(observer());
  }

  // for the handles
  result<device_lease<device_type>> lease(std::uint64_t group, std::uint64_t device) noexcept;
  device_type* find_device(std::uint64_t group, std::uint64_t device) noexcept;
  template <class... Others>
  result<refused_ids> open(std::uint64_t group, Others&&...) noexcept;
  result<void> close(std::uint64_t group, std::uint64_t device) noexcept;
  result<void> request_unplug(std::uint64_t group) noexcept;
  result<void> cancel_unplug(std::uint64_t group) noexcept;
  label name_of(std::uint64_t group, std::uint64_t device) const noexcept;
  std::vector<refused_ids> every_device(std::uint64_t group) const;
  std::vector<opened> handles_of(std::vector<refused_ids> const&);
  error named(error const&) const noexcept;
  template <class... Device>
  result<void> detach(std::uint64_t group, Device... device) noexcept;
};

}  // namespace tether::detail
