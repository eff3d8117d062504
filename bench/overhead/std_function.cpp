// SPDX-License-Identifier: BSL-1.0
// Backend and granularity as std::functions.
#include <overhead/at_run_time.hpp>

#include <cstdint>
#include <functional>

namespace {

struct functions {
  std::function<std::uint64_t(std::uint64_t, std::uint64_t)> first_piece{overhead::first_piece};
  std::function<int(std::uint64_t, std::uint64_t, std::uint64_t, unsigned)> map{
      [](auto iova, auto size, auto host, unsigned rights) {
        return codegen_map(0, iova, size, host, rights);
      }};
  std::function<int(std::uint64_t, std::uint64_t)> unmap{
      [](auto iova, auto size) { return codegen_unmap(0, iova, size); }};
};

const bench::side<overhead::subject> entered{
    "std::function", overhead::maps_and_unmaps<overhead::chosen_path<functions>>};

}  // namespace
