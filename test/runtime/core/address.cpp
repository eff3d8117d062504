// SPDX-License-Identifier: BSL-1.0
#include <tether/core/address.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <sstream>
#include <string>

namespace runtime_core_address {

using namespace tether;

namespace {

template <class Address>
std::string written(Address at) {
  std::ostringstream to;
  to << at << '.';
  return to.str();
}

}  // namespace

TEST_CASE("an address is written to a stream as errors write it") {
  CHECK(written(guest_address{0}) == "guest physical 0x0.");
  CHECK(written(io_address{0x1000}) == "I/O virtual 0x1000.");
  CHECK(written(host_address{UINT64_MAX}) == "host virtual 0xffffffffffffffff.");
  CHECK(written(block_offset{0x9ab'cdef}) == "block offset 0x9abcdef.");
}

}  // namespace runtime_core_address
