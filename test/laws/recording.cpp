// SPDX-License-Identifier: BSL-1.0
// Recording a backend changes none of its laws, and neither does recording the recording.
#include <laws/backend.hpp>

#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/testing/recording.hpp>

#include <doctest/doctest.h>

namespace laws_recording {

using namespace tether;

namespace {

software_iommu small_iommu(laws::limits const& small) {
  return software_iommu{
      {.page_sizes = {tether_test::host_page()}, .usable = small.usable, .budget = small.budget}};
}

struct recorded_software_rig {
  using backend_type = recording<software_iommu>;
  static result<backend_type> make(laws::limits const& small) {
    return backend_type{small_iommu(small)};
  }
};

struct twice_recorded_rig {
  using backend_type = recording<recording<software_iommu>>;
  static result<backend_type> make(laws::limits const& small) {
    return backend_type{recording<software_iommu>{small_iommu(small)}};
  }
};

struct recorded_io_uring_rig {
  using backend_type = recording<io_uring_buffers>;
  static result<backend_type> make(laws::limits const& small) {
    auto opened = io_uring_buffers::open({.slots = small.budget + 1,
                                          .bytes_per_slot = io_uring_largest_buffer,
                                          .usable = small.usable});
    if (!opened) return failure(opened.error());
    return backend_type{*std::move(opened)};
  }
};

}  // namespace

TEST_CASE("a recorded software_iommu keeps the laws of a backend") {
  laws::check_backend<recorded_software_rig>();
}
TEST_CASE("a recording of a recording keeps the laws of a backend") {
  laws::check_backend<twice_recorded_rig>();
}
TEST_CASE("recorded io_uring_buffers keep the laws of a backend") {
  laws::check_backend<recorded_io_uring_rig>();
}

}  // namespace laws_recording
