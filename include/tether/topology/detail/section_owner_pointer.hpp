// SPDX-License-Identifier: BSL-1.0
// The pointer by which a view keeps a section's memory and name alive. Apart from the owner itself,
// so that who only reads a view does not include all that memory can do.
#pragma once

#include <tether/version.hpp>

#include <memory>

namespace tether::detail {

class section_owner;

/// Shared ownership is right here, and in the views: snapshots are immutable, and whether a reader
/// or the writer drops the last reference is not known in advance.
using section_owner_pointer = std::shared_ptr<section_owner const>;

}  // namespace tether::detail
