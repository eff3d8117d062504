// SPDX-License-Identifier: BSL-1.0
// Named slots: a policy is a small struct that says which slot it fills (`using slot = ...`), so
// policies are given in any order, each slot at most once, and a user's own is equal to a built-in
// one. What each slot accepts, and what fills it otherwise: `attach/detail/slot_table.hpp`.
#pragma once

#include <tether/version.hpp>

namespace tether {

/// The rule for how many holds a container takes on discards.
struct inhibition_slot {};
/// How a section is cut into mappings.
struct granularity_slot {};
/// What happens to a section's ends that are not whole pages.
struct edges_slot {};
/// The observer, which is told what was mapped, trimmed or left out.
struct observation_slot {};
/// The tracer, which is told of attaches and detaches, step by step.
struct tracing_slot {};
/// How calls from several threads are synchronised (must be the same as the gate's).
struct threading_slot {};
/// Whether KVM's VFIO device is told what is attached.
struct kvm_slot {};

/// Any policy: it names its slot.
template <class T>
concept policy = requires { typename T::slot; };

}  // namespace tether
