// SPDX-License-Identifier: BSL-1.0
// One process_madvise(MADV_REMOVE) on ourselves for the 256 pages of a request.
#include <discard/memfd.hpp>

namespace {

struct way {
  void give(discard::subject const& of, std::span<std::uint32_t const> numbers) {
    discard::advise_all(of, numbers, MADV_REMOVE);
  }
};

const bench::side<discard::subject> entered{
    "process_madvise(MADV_REMOVE) of 256",
    [](discard::subject& of) { return discard::only_of_memfd<way>(of); }};

}  // namespace
