// SPDX-License-Identifier: BSL-1.0
#include <tether/core/mapping.hpp>

#include <type_traits>

using namespace tether;

namespace {

constexpr mapping whole{{io_address{0x10000}, io_address{0x1ffff}},
                        host_address{0x7f0000000000},
                        access::read,
                        memory_kind::shared};

static_assert(whole.host_at(io_address{0x10000}) == host_address{0x7f0000000000});
static_assert(whole.host_at(io_address{0x1ffff}) == host_address{0x7f000000ffff});

// A pin of what is private must find the process's own page (law 15).
static_assert(is_private(memory_kind::private_anonymous) && is_private(memory_kind::private_file));
static_assert(!is_private(memory_kind::shared) && !is_private(memory_kind::hugetlb) &&
              !is_private(memory_kind::device));

static_assert(std::is_trivially_copyable_v<mapping> && sizeof(mapping) == 32);

// Rights cover rights.
static_assert(allows(access::read_write, access::read) &&
              allows(access::read_write, access::write) &&
              allows(access::read_write, access::read_write) &&
              allows(access::read_write, access::none));
static_assert(allows(access::read, access::read) && !allows(access::read, access::write) &&
              !allows(access::read, access::read_write) && allows(access::read, access::none));
static_assert(allows(access::write, access::write) && !allows(access::write, access::read) &&
              !allows(access::write, access::read_write));
static_assert(!allows(access::none, access::read) && !allows(access::none, access::write) &&
              allows(access::none, access::none));

}  // namespace
