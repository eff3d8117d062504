// SPDX-License-Identifier: BSL-1.0
// The proof, which is opt-in: code that does not include this pays nothing for it. The headers are
// listed in reading order.
//
// The model checker runs the functions that a container runs (`advance`, `apply_change`, `judge`,
// the policy), in one container of two groups of two devices (at run time in more), with one page,
// a balloon, a guest, every interleaving, every failure of every act, and an `abandon` that
// succeeds. Of a container that maps in blocks it runs a second model beside that (units/): one
// unit of divided memory, two containers that follow it or attach, two sources that discard and
// populate it, every failure. The decisions are the functions that run; the order of the steps is
// held to the one that runs by lockstep.
// Outside of the models, and covered by something else or assumed:
//
//   more groups and devices      inhibit/detail/truth_table.hpp evaluates the policy for counts up
//                                to 16, then powers of two and their neighbours; between those it
//                                is assumed to answer alike
//   a policy's run-time answers  checked when its first container is made (tether[I16])
//   what a kernel pins, when     kernel.hpp models it; the system tests check that on real kernels
//   a backend's own code         the laws suites, the lockstep and the hostile balloon; they also
//                                check that `abandon` succeeds only when every pin is gone,
//                                including those of stuck acts
//   memory hot-plug              sections mapped and unmapped while something is attached: the
//                                listener's tests. What is mapped then is pinned by groups and
//                                devices that have joined, whose holds are taken already
//   threads inside the gate      the interleavings of the reader indicator
//   two operations at once       a container's lock: one runs at a time
//   several units, of several    nothing but a container's lock connects them
//   a destroyed container        what it could not unmap is never discarded again: its tests
#pragma once

#include <tether/attach/lifecycle/steps.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/plan_rules.hpp>

#include <tether/proof/model/plan_table.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/state.hpp>

#include <tether/proof/model/kernel.hpp>
#include <tether/proof/model/ranks.hpp>
#include <tether/proof/search/coverage.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/model/acts.hpp>
#include <tether/proof/model/event.hpp>
#include <tether/proof/model/reduction.hpp>
#include <tether/proof/model/requests.hpp>
#include <tether/proof/model/transition.hpp>

#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/state.hpp>
#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/property.hpp>
#include <tether/proof/units/event.hpp>
#include <tether/proof/units/follower_steps.hpp>
#include <tether/proof/units/source_calls.hpp>
#include <tether/proof/units/source_steps.hpp>
#include <tether/proof/units/transition.hpp>

#include <tether/proof/search/state_key.hpp>
#include <tether/proof/units/state_key.hpp>
#include <tether/proof/search/searched_model.hpp>
#include <tether/proof/search/breadth_first.hpp>
#include <tether/proof/search/at_compile_time.hpp>
#include <tether/proof/search/trace_text.hpp>
#include <tether/proof/units/trace_text.hpp>
#include <tether/proof/proven_safe.hpp>
#include <tether/proof/search/at_run_time.hpp>
