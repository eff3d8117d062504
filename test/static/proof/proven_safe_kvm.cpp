// SPDX-License-Identifier: BSL-1.0
// The built-in configurations that tell KVM of what is attached: two more steps that can fail, and a reference that must not stay.
#include <tether/proof/proven_safe.hpp>

#include <tether/attach/lifecycle.hpp>
#include <tether/inhibit/inhibit_per_container.hpp>
#include <tether/inhibit/inhibit_per_device.hpp>
#include <tether/inhibit/inhibit_per_group.hpp>

namespace tether {
namespace {

template <class Policy, attach_unit Unit>
concept proven_telling_kvm = proven_safe<proof::essence<Policy, lifecycle_of<Unit, true>>>;

static_assert(proven_telling_kvm<inhibit_per_group, attach_unit::group>);
static_assert(proven_telling_kvm<inhibit_per_device, attach_unit::group>);
static_assert(proven_telling_kvm<inhibit_per_container, attach_unit::group>);
static_assert(proven_telling_kvm<inhibit_per_group, attach_unit::device>);
static_assert(proven_telling_kvm<inhibit_per_device, attach_unit::device>);
static_assert(proven_telling_kvm<inhibit_per_container, attach_unit::device>);

}  // namespace
}  // namespace tether
