// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/section.hpp>

#include <cstdint>

namespace {

using namespace tether;

constexpr extent<guest_address> place(std::uint64_t first, std::uint64_t last) {
  return {guest_address{first}, guest_address{last}};
}

constexpr section ram{
    place(0x1000, 0x1fff), nullptr, block_offset{0x3000}, region_kind::ram, false, false, "one"};

constexpr section with(auto change) {
  section other = ram;
  change(other);
  return other;
}

static_assert(ram == with([](section& s) { s.name = "two"; }),
              "a name is nothing that a listener acts on");
static_assert(!(ram == with([](section& s) { s.where = place(0x1000, 0x2fff); })));
static_assert(!(ram == with([](section& s) { s.offset = block_offset{0}; })));
static_assert(!(ram == with([](section& s) { s.kind = region_kind::rom; })));
static_assert(!(ram == with([](section& s) { s.read_only = true; })));
static_assert(!(ram == with([](section& s) { s.unmergeable = true; })));

static_assert(ram.rights() == access::read_write);
static_assert(with([](section& s) { s.read_only = true; }).rights() == access::read);
static_assert(with([](section& s) { s.kind = region_kind::rom; }).rights() == access::read,
              "devices read ROM and no more");

}  // namespace
