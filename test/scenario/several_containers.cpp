// SPDX-License-Identifier: BSL-1.0
// Several containers follow one guest: a refusal, and a report, say which one it was; a change that
// one of them must refuse touches none; and what one had left out is left out still when another
// has refused a change.
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace scenario_several_containers {

using namespace tether;
using tether_test::must;

namespace {

using backend = recording<software_iommu>;
using container_type = container<backend, whole_section>;

struct two_containers {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  ram_block other = must(ram_block::allocate("other", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  journal first_book, second_book;
  container_type first{guest, gate, backend{first_book, software_iommu{}}};
  container_type second{guest, gate, backend{second_book, software_iommu{}}};
  region_id ram_region = must(guest.place(region::ram(ram), guest_address{0}));
  std::optional<container_type::attached> nics = must(first.attach(group("nics")));
  std::optional<container_type::attached> vgpus = must(second.attach(group("vgpus")));

  static endpoint_group group(const char* name) { return {name, {{"one", pin_class::pins}}}; }
  /// The container that refuses to place `other`, because its next mapping fails.
  std::string who_refuses(journal& book) {
    book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
    const auto refused = guest.place(region::ram(other), guest_address{1 * MiB});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().subject() == "other");
    return std::string{refused.error().container()};
  }
};

}  // namespace

TEST_CASE("a refusal and a report name the container, by what has been attached to it longest") {
  two_containers t;
  CHECK(t.who_refuses(t.first_book) == "nics");
  CHECK(t.who_refuses(t.second_book) == "vgpus");
  auto more = must(t.first.attach(t.group("more nics")));
  CHECK(t.who_refuses(t.first_book) == "nics");
  must(t.nics->detach());
  CHECK(t.who_refuses(t.first_book) == "more nics");

  t.first_book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  t.second_book.fail_at(backend_call::map, 1, error::from_errno("map", EFAULT));
  auto change = t.guest.begin(commit_kind::compulsory);
  static_cast<void>(must(change.place(region::ram(t.other), guest_address{1 * MiB})));
  const auto report = must(change.commit());
  REQUIRE(report.fenced.size() == 2);
  CHECK(report.fenced[0].container() == "more nics");
  CHECK(report.fenced[1].container() == "vgpus");
  CHECK(report.fenced[1].sentence().find("map of 'other'") == 0);
  CHECK(report.fenced[1].sentence().find(" in container 'vgpus': ") != std::string::npos);
  must(more.detach());
  must(t.nics.emplace(must(t.first.attach(t.group("back again")))).detach());
}

TEST_CASE("a change that one container refuses up front is asked of no other's kernel") {
  two_containers t;
  const std::vector<extent<io_address>> low{{io_address{0}, io_address{1 * GiB - 1}}};
  journal small_book;
  container_type small{t.guest, t.gate,
                       backend{small_book, software_iommu{{.usable = low, .budget = 2}}}};
  auto held = must(small.attach(t.group("small")));
  const std::array told{t.first_book.entries().size(), t.second_book.entries().size(),
                        small_book.entries().size()};
  // Whoever was told anything could not put it back.
  t.first_book.fail_at(backend_call::map, 2, error::from_errno("map", ENOMEM));
  const auto refused = [&](auto const& outcome, errc why) {
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().is(why));
    CHECK(outcome.error().container() == "small");
    CHECK_FALSE(outcome.error().rollback_failed());
    CHECK(std::array{t.first_book.entries().size(), t.second_book.entries().size(),
                     small_book.entries().size()} == told);
    CHECK_FALSE(t.first.diverged());
  };
  refused(t.guest.move(t.ram_region, guest_address{4 * GiB}), errc::outside_aperture);
  auto change = t.guest.begin();
  must(change.move(t.ram_region, guest_address{8 * MiB}));
  for (std::uint64_t at = 1; at != 3; ++at)
    static_cast<void>(must(change.place(region::ram(t.other), guest_address{at * MiB})));
  refused(change.commit(), errc::over_budget);
  CHECK(t.guest.view()->find(guest_address{0}) != nullptr);
  t.first_book.clear_faults();
  must(t.guest.move(t.ram_region, guest_address{8 * MiB}));
  must(held.detach());
}

TEST_CASE("one that has diverged refuses every refusable change of the map, and is named") {
  two_containers t;
  t.second_book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  auto change = t.guest.begin(commit_kind::compulsory);
  must(change.remove(t.ram_region));
  const auto report = must(change.commit());
  REQUIRE(report.fenced.size() == 1);
  CHECK(report.fenced[0].container() == "vgpus");
  const auto refused = t.guest.place(region::ram(t.other), guest_address{1 * MiB});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::diverged));
  CHECK(refused.error().container() == "vgpus");
  must(t.second.abandon());
  static_cast<void>(must(t.guest.place(region::ram(t.other), guest_address{1 * MiB})));
}

TEST_CASE("what one had left out stays so when another refuses a change that takes it away") {
  two_containers t;
  t.first_book.fail_at(backend_call::map, 1, error::from_errno("map", ENOMEM));
  auto change = t.guest.begin(commit_kind::compulsory);
  const auto id = must(change.place(region::ram(t.other), guest_address{1 * MiB}));
  CHECK(must(change.commit()).fenced.size() == 1);
  const auto as_before = [&] {
    const auto left_out = t.first.left_out();
    REQUIRE(left_out.size() == 1);
    CHECK(left_out[0].what.where.first == guest_address{1 * MiB});
    CHECK(left_out[0].why.is_errno(ENOMEM));
    CHECK(t.first.usage() == mapped_usage{1, 64 * KiB});
    CHECK(t.second.usage() == mapped_usage{2, 128 * KiB});
  };
  as_before();
  t.second_book.fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  CHECK(t.guest.remove(id).error().container() == "vgpus");
  as_before();
  t.second_book.fail_at(backend_call::map, 1, error::from_errno("map", EIO));
  CHECK(t.guest.move(id, guest_address{2 * MiB}).error().container() == "vgpus");
  as_before();
  must(t.guest.move(id, guest_address{2 * MiB}));  // and it can still be brought back
  CHECK(t.first.left_out().empty());
  CHECK(t.first.usage() == mapped_usage{2, 128 * KiB});
}

}  // namespace scenario_several_containers
