// SPDX-License-Identifier: BSL-1.0
// Every C++ snippet of the READMEs, but the quickstart, which is a program of its own: check.py
// writes each to a file of its heading's name, and here it is compiled, beside what its text says
// is there. Nothing runs: several of them want devices.
#include <tether/proof.hpp>
#include <tether/tether.hpp>

#include <support/must.hpp>

#include <tether/laws/backend.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <utility>
#include <vector>

namespace readme_snippets {

namespace {

using tether_test::must;

template <class T>
constexpr bool may_have_failed = false;
template <class T>
constexpr bool may_have_failed<tether::result<T>> = true;
/// None of these types is a `result`: it would be used although it may hold no value.
template <class... T>
constexpr bool asked = !(may_have_failed<T> || ...);

using passthrough = tether::container<tether::software_iommu>;

[[maybe_unused]] void the_balloon_goes_on(tether::address_space& guest, tether::discard_gate<>& gate,
                                          tether::ram_block const& ram,
                                          tether::ram_block const& other,
                                          tether::guest_address at) {
#include "the_balloon_goes_on.inc"
  static_assert(asked<decltype(memory)>);
}

[[maybe_unused]] void with_vfio(tether::address_space& guest, tether::discard_gate<>& gate) {
#include "with_vfio.inc"
  static_assert(asked<decltype(group), decltype(nic)>);
}

struct my_iommu : tether::software_iommu {
  my_iommu(std::vector<tether::extent<tether::io_address>> usable, std::uint64_t budget)
      : software_iommu{{.usable = std::move(usable), .budget = budget}} {}
};
#include "compilers_flags_packages.inc"

[[maybe_unused]] void compile_time_proof() {
#include "compile_time_proof.inc"
}

void report(tether::extent<tether::io_address> const&, tether::staleness) {}
[[maybe_unused]] void run_time_audit(tether::address_space& guest, tether::discard_gate<>& gate) {
#include "run_time_audit.inc"
}

[[maybe_unused]] void status_and_tracing(tether::address_space& guest,
                                         tether::discard_gate<>& gate) {
#include "status_and_tracing.inc"
}

[[maybe_unused]] void backends(tether::address_space& guest, tether::discard_gate<>& gate, int vm) {
#include "backends.inc"
  static_assert(asked<decltype(group), decltype(eth0), decltype(context), decltype(eth1)>);
}

[[maybe_unused]] void backends_2(std::span<std::byte> memory) {
#include "backends_2.inc"
  static_assert(asked<decltype(iommu), decltype(found), decltype(joined), decltype(disk),
                      decltype(buffers), decltype(ring), decltype(tail)>);
}

[[maybe_unused]] void a_balloon_that_keeps_huge_pages_whole(tether::address_space& guest,
                                                            tether::discard_gate<>& gate,
                                                            tether::ram_block const& ram) {
#include "a_balloon_that_keeps_huge_pages_whole.inc"
}

}  // namespace

}  // namespace readme_snippets
