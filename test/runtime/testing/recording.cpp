// SPDX-License-Identifier: BSL-1.0
#include <tether/testing/recording.hpp>

#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace runtime_testing_recording {

using namespace tether;

static_assert(recording<software_iommu>::pins == software_iommu::pins);
static_assert(recording<io_uring_buffers>::pins == io_uring_buffers::pins);
static_assert(std::is_same_v<recording<io_uring_buffers>::device_type, io_uring_device>);
static_assert(std::is_same_v<kernel_of<recording<io_uring_buffers>>, linux_kernel>);
static_assert(std::is_same_v<kernel_of<recording<software_iommu>>, linux_kernel>);

namespace {

std::vector<std::string> told(journal const& calls) {
  std::vector<std::string> lines;
  for (auto const& entry : calls.entries()) lines.push_back(sentence(entry));
  return lines;
}
mapping page_at(std::uint64_t first) {
  return {{io_address{first}, io_address{first + 0xfff}}, host_address{0x1000}};
}
endpoint_group nics() { return {"nics", {{"nic", pin_class::pins}}}; }

}  // namespace

TEST_CASE("a recording writes down every operation in order, with how it ended") {
  journal calls;
  {
    recording<software_iommu> iommu{calls};
    auto group = iommu.join(nics()).value();
    CHECK(iommu.map(page_at(0x1000)));
    CHECK(!iommu.map(page_at(0x1000)));
    auto device = iommu.open(group, "nic").value();
    CHECK(!iommu.open(group, "disk"));
    CHECK(iommu.quiesce());
    CHECK(iommu.close(device));
    CHECK(iommu.unmap(page_at(0x1000).where));
    CHECK(iommu.leave(group));
    CHECK(iommu.abandon());
  }
  CHECK(told(calls) == std::vector<std::string>{
                           "join 'nics'", "map [0x1000, 0x1fff]", "map [0x1000, 0x1fff]: failed",
                           "open 'nic'", "open 'disk': failed", "quiesce", "close 'nic'",
                           "unmap [0x1000, 0x1fff]", "leave 'nics'", "abandon"});
  CHECK(calls.count(backend_call::map) == 2);
  calls.clear();
  CHECK(calls.entries().empty());
}

TEST_CASE("the n-th operation fails as told, reaches no backend, and the next goes on") {
  journal calls;
  recording<software_iommu> iommu{calls};
  calls.fail_at(2, error{"map", errc::over_budget});
  CHECK(iommu.map(page_at(0x1000)));
  const auto refused = iommu.map(page_at(0x2000));
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::over_budget));
  CHECK(iommu.free_mappings() == 65534);
  CHECK(calls.faults_left() == 0);
  CHECK(iommu.map(page_at(0x2000)));
}

TEST_CASE("a fault for one kind of operation counts only that kind") {
  journal calls;
  recording<software_iommu> iommu{calls};
  calls.fail_at(backend_call::unmap, 2, error::from_errno("unmap", EIO));
  CHECK(iommu.map(page_at(0x1000)));
  CHECK(iommu.map(page_at(0x2000)));
  CHECK(iommu.unmap(page_at(0x1000).where));
  CHECK(calls.faults_left() == 1);
  CHECK(iommu.unmap(page_at(0x2000).where).error().is_errno(EIO));
  CHECK(iommu.unmap(page_at(0x2000).where));
  calls.fail_at(1, error{"join", errc::still_in_use});
  calls.clear_faults();
  CHECK(iommu.join(nics()));
}

TEST_CASE("an operation can end stuck, carried out or not, and the journal says so") {
  journal calls;
  recording<software_iommu> iommu{calls};
  calls.fail_at(backend_call::map, 1, error::from_errno("map", EIO).with_failed_rollback());
  CHECK(iommu.map(page_at(0x1000)).error().rollback_failed());
  CHECK(iommu.free_mappings() == 65535);
  calls.fail_after(backend_call::map, 1, error::from_errno("map", EIO));
  CHECK(iommu.map(page_at(0x1000)).error().rollback_failed());
  CHECK(iommu.free_mappings() == 65534);
  CHECK(told(calls) ==
        std::vector<std::string>{"map [0x1000, 0x1fff]: stuck", "map [0x1000, 0x1fff]: stuck"});
}

TEST_CASE("hooks stand right before and right after the backend's own call") {
  journal calls;
  recording<software_iommu> iommu{calls};
  std::vector<std::uint64_t> free;
  std::vector<call_outcome> ends;
  calls.before_each([&](journal_entry const& entry) {
    free.push_back(iommu.free_mappings());
    ends.push_back(entry.ended);
  });
  calls.after_each([&](journal_entry const& entry) {
    free.push_back(iommu.free_mappings());
    ends.push_back(entry.ended);
  });
  CHECK(iommu.map(page_at(0x1000)));
  CHECK(!iommu.map(page_at(0x1000)));
  CHECK(free == std::vector<std::uint64_t>{65535, 65534, 65534, 65534});
  CHECK(ends == std::vector<call_outcome>{call_outcome::running, call_outcome::done,
                                          call_outcome::running, call_outcome::failed});
}

TEST_CASE("a recording's own journal stays where it is when the recording moves") {
  recording<software_iommu> first;
  journal& calls = first.log();
  CHECK(first.quiesce());
  auto second = std::move(first);
  CHECK(second.quiesce());
  CHECK(&second.log() == &calls);
  CHECK(calls.count(backend_call::quiesce) == 2);
}

TEST_CASE("two recordings can share a journal, which then tells the order across them") {
  journal calls;
  recording<software_iommu> left{calls};
  recording<software_iommu> right{calls};
  CHECK(left.map(page_at(0x1000)));
  CHECK(right.map(page_at(0x2000)));
  CHECK(left.unmap(page_at(0x1000).where));
  CHECK(told(calls) == std::vector<std::string>{"map [0x1000, 0x1fff]", "map [0x2000, 0x2fff]",
                                                "unmap [0x1000, 0x1fff]"});
}

}  // namespace runtime_testing_recording
