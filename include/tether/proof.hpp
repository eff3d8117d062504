// SPDX-License-Identifier: BSL-1.0
// The proof, which is opt-in: who does not include this pays nothing for it. In the order in which it is understood.
//
// It sees the functions that a container runs (`advance`, `enact`, the policy), in one container of two groups of two devices (at run
// time in more), with one page, a balloon, a guest, every interleaving, every failure of every act, and an `abandon` that succeeds.
// It does not see, and something else has to show or somebody to believe:
//
//   more groups and devices       the policy is asked (inhibit/truth_table.hpp): every count up to 16, then powers of two and their
//                                 neighbours; between those it is taken to answer alike
//   what the program answers      asked once more, when the first container of a policy is made (tether[I16])
//   what a kernel pins, when      kernel.hpp says it; the system tests hold that against real kernels
//   a backend's own code          the laws suites, the lockstep and the hostile balloon; among it that `abandon` answers only when
//                                 every pin is gone, of what got stuck too
//   memory that comes and goes    sections mapped and unmapped while something is attached: the listener's tests. What is mapped then is
//                                 pinned by whoever has joined, and the holds for those stand already
//   threads inside the gate       the interleavings of the turnstile
//   two operations at once        a container's lock: one runs at a time
#pragma once

#include <tether/proof/automaton.hpp>
#include <tether/proof/essence.hpp>
#include <tether/proof/world.hpp>

#include <tether/proof/kernel.hpp>
#include <tether/proof/ranks.hpp>
#include <tether/proof/coverage.hpp>
#include <tether/proof/property.hpp>
#include <tether/proof/acts.hpp>
#include <tether/proof/event.hpp>
#include <tether/proof/transition.hpp>

#include <tether/proof/key.hpp>
#include <tether/proof/explore.hpp>
#include <tether/proof/slices.hpp>
#include <tether/proof/story.hpp>
#include <tether/proof/proven_safe.hpp>
#include <tether/proof/follows.hpp>
#include <tether/proof/search.hpp>
