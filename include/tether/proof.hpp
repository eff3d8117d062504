// SPDX-License-Identifier: BSL-1.0
// The proof, which is opt-in: who does not include this pays nothing for it. In the order in which it is understood.
#pragma once

#include <tether/proof/automaton.hpp>
#include <tether/proof/essence.hpp>
#include <tether/proof/world.hpp>
#include <tether/proof/scaled_holds.hpp>

#include <tether/proof/kernel.hpp>
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
