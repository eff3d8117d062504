// SPDX-License-Identifier: BSL-1.0
// What is told: runtime/attach/tracing. What is not told costs nothing: codegen/lifecycle, and
#include <tether/attach/detail/told_tracer.hpp>

#include <tether/attach/configuration.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <type_traits>

namespace tether {
namespace {

struct listens {
  using slot = tracing_slot;
  void traced(trace_event const&) noexcept {}
};
struct may_throw {
  using slot = tracing_slot;
  void traced(trace_event const&) {}
};
struct listens_elsewhere {
  using slot = observation_slot;
  void traced(trace_event const&) noexcept {}
};
static_assert(tracing<listens> && tracing<no_tracing> && tracing<observers<listens, no_tracing>>);
static_assert(!tracing<may_throw> && !tracing<listens_elsewhere> && !tracing<int>);

static_assert(std::is_empty_v<detail::told_tracer<no_tracing>> &&
              !detail::told_tracer<no_tracing>::told && detail::told_tracer<listens>::told);

using plain = configuration<io_uring_buffers>;
using traced = configuration<io_uring_buffers, whole_section, listens>;
static_assert(std::is_same_v<plain::tracing, no_tracing> &&
              std::is_same_v<traced::tracing, listens>);
static_assert(valid_configuration<io_uring_buffers, listens> &&
              !valid_configuration<io_uring_buffers, may_throw> &&
              !valid_configuration<io_uring_buffers, listens, listens>);
// The lifecycle, and with it a proof, is the same.
static_assert(std::is_same_v<plain::lifecycle, traced::lifecycle>);

}  // namespace
}  // namespace tether
