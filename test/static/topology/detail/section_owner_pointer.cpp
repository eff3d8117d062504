// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/section_owner_pointer.hpp>

#include <type_traits>

namespace {

using namespace tether::detail;

template <class Owner>
concept complete = requires { sizeof(Owner); };

static_assert(!complete<section_owner>, "a view is read without what memory can do");
static_assert(std::is_nothrow_copy_constructible_v<section_owner_pointer>);
static_assert(std::is_const_v<section_owner_pointer::element_type>);

}  // namespace
