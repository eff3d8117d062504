// SPDX-License-Identifier: BSL-1.0
// tether's gate, which any thread may use.
#include <permit/hold.hpp>
#include <permit/permit.hpp>

#include <racing/must.hpp>

#include <tether/inhibit/discard_gate.hpp>

namespace {

struct gate {
  [[gnu::noinline]] void enter_and_leave() {
    const auto permit = inner.permit(tether::discard_kind::uncoordinated);
    if (!permit) throw bench::cannot_run{"no permit"};
  }
  [[gnu::noinline]] void close_and_open() {
    const auto held = inner.hold(tether::hold_kind::any, "bench");
    if (!held) throw bench::cannot_run{"no hold"};
  }
  tether::discard_gate<> inner{};
};

const bench::side<permit::subject> permits{"tether", permit::passes_through<gate>};
const bench::side<permit::hold_subject> holds{"tether", permit::closes<gate>};

}  // namespace
