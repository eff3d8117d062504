// SPDX-License-Identifier: BSL-1.0
#include <tether/core/access.hpp>

using namespace tether;
using enum access;

namespace {

static_assert(allows(read_write, read) && allows(read_write, write) && allows(read_write, read_write) && allows(read_write, none));
static_assert(allows(read, read) && !allows(read, write) && !allows(read, read_write) && allows(read, none));
static_assert(allows(write, write) && !allows(write, read) && !allows(write, read_write));
static_assert(!allows(none, read) && !allows(none, write) && allows(none, none));

}  // namespace
