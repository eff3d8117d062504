// SPDX-License-Identifier: BSL-1.0
// The story of an attach and a detach, call by call: the hold stands before anything can pin, and
// until nothing can any more. Told on a software IOMMU and on pages that the kernel really pins.
#include <support/may_discard.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/listen/progress.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace scenario_attach {

using namespace tether;
using namespace tether_test;

namespace {

/// What was asked, and whether the gate was held when it was.
struct asked {
  backend_call what;
  std::string subject;
  bool held;
  std::uint64_t pinned;
};

/// A passthrough of a model, or nothing (and the test is skipped) where it cannot be had.
template <class Rig, class Model>
std::unique_ptr<Rig> made() {
  auto backend = Model::make();
  if (!backend) {
    skip_because(backend.error().sentence());
    return nullptr;
  }
  return std::make_unique<Rig>(std::move(*backend));
}

template <class Rig>
void watch(Rig& rig, std::vector<asked>& before, std::vector<asked>& after) {
  const auto look = [&rig](journal_entry const& entry) {
    const auto counts = rig.gate.counts();
    return asked{entry.what, entry.subject, counts.any_holds + counts.uncoordinated_holds != 0,
                 pinned_by_the_kernel()};
  };
  rig.book.before_each([&rig, &before, look](journal_entry const& entry) {
    rig.strike();
    before.push_back(look(entry));
  });
  rig.book.after_each([&rig, &after, look](journal_entry const& entry) {
    rig.strike();
    after.push_back(look(entry));
  });
}

std::vector<backend_call> kinds(std::vector<asked> const& all) {
  std::vector<backend_call> each;
  for (auto const& one : all) {
    // runs of map and of unmap count once
    if (each.empty() || each.back() != one.what) each.push_back(one.what);
  }
  return each;
}

template <class Model, class... Policies>
void story_of_one_group() {
  using rig_type = passthrough<Model, Policies...>;
  const auto rig = made<rig_type, Model>();
  if (!rig) return;
  const std::uint64_t pinned_at_first = pinned_by_the_kernel();
  std::vector<asked> before;
  std::vector<asked> after;
  watch(*rig, before, after);

  auto group = must(rig->dma->attach(pinning_group()));
  CHECK(kinds(before) == std::vector<backend_call>{backend_call::join, backend_call::map});
  for (auto const& one : before)
    CHECK_MESSAGE(one.held == Model::backend_type::pins, name_of(one.what));
  CHECK(before.front().pinned == pinned_at_first);
  CHECK(rig->dma->usage().bytes == 192 * KiB - 4 * KiB + 64 * KiB + 128 * KiB);
  if (Model::backend_type::pins)
    CHECK(pinned_by_the_kernel() - pinned_at_first == rig->dma->usage().bytes);

  auto device = must(group.open("nic"));
  CHECK(rig->disagreements(*device) == 0);
  const std::vector<std::byte> packet(100, std::byte{0x5a});
  must(device->dma_write(io_address{0x1ff0}, packet));
  CHECK(rig->low->data()[0x1ff0] == std::byte{0x5a});
  CHECK_FALSE(device->dma_write(io_address{0x40000}, packet));  // ROM
  // registers
  CHECK_FALSE(device->dma_read(io_address{0x8000}, std::span{rig->spare->data(), 16}));
  rig->fill();

  before.clear();
  after.clear();
  must(group.detach());
  CHECK(kinds(before) == std::vector<backend_call>{backend_call::close, backend_call::quiesce,
                                                   backend_call::unmap, backend_call::leave});
  for (auto const& one : before)
    CHECK_MESSAGE(one.held == Model::backend_type::pins, name_of(one.what));
  for (auto const& one : after)
    CHECK_MESSAGE(one.held == Model::backend_type::pins, name_of(one.what));
  CHECK(after.back().pinned == pinned_at_first);
  CHECK(rig->gate.counts() == gate_counts{});
  CHECK(rig->stale_strikes == 0);
  CHECK(device.get() == nullptr);
  CHECK(device.close().error().is(errc::stale_handle));
  CHECK(group.detach().error().is(errc::stale_handle));
}

/// A mediated group needs no hold, memory has been ballooned; then one that pins joins the populated
/// container.
template <class... Policies>
void story_of_a_late_pin() {
  using rig_type = passthrough<on_io_uring, Policies...>;
  const auto rig = made<rig_type, on_io_uring>();
  if (!rig) return;
  const std::uint64_t pinned_at_first = pinned_by_the_kernel();
  auto mediated = must(rig->dma->attach(mediated_group()));
  auto vgpu = must(mediated.open("vgpu", agrees_to_discards));
  CHECK(rig->gate.counts() == gate_counts{});
  CHECK(pinned_by_the_kernel() == pinned_at_first);
  CHECK(may_discard(rig->gate, discard_kind::uncoordinated));
  rig->strike();

  std::vector<asked> before;
  std::vector<asked> after;
  watch(*rig, before, after);
  auto group = must(rig->dma->attach(pinning_group()));
  REQUIRE(before.size() == 1);
  CHECK(before[0].what == backend_call::join);
  // before the backend is asked to join: joining pins all that is mapped already
  CHECK(before[0].held);
  CHECK(before[0].pinned == pinned_at_first);
  CHECK(after[0].pinned - pinned_at_first == rig->dma->usage().bytes);
  CHECK_FALSE(may_discard(rig->gate, discard_kind::uncoordinated));
  auto nic = must(group.open("nic"));
  CHECK(rig->disagreements(*nic) == 0);
  CHECK(rig->disagreements(*vgpu) == 0);

  must(group.detach());
  CHECK(pinned_by_the_kernel() == pinned_at_first);
  CHECK(rig->gate.counts() == gate_counts{});  // the mediated one still needs none
  CHECK(rig->dma->usage().mappings != 0);      // a group that is not the last unmaps nothing
  rig->strike();
  CHECK(rig->disagreements(*vgpu) == 0);
  must(mediated.detach());
  CHECK(rig->dma->usage() == mapped_usage{});
  CHECK(rig->stale_strikes == 0);
}

/// Counts the pieces, and stops after some.
struct counting {
  std::uint64_t* count;
  std::stop_source* stop;
  std::uint64_t stop_at;
  void operator()(mapping const&) const noexcept {
    if (++*count == stop_at) stop->request_stop();
  }
};

template <class Model>
void story_of_a_cancelled_attach() {
  using rig_type = passthrough<Model, largest_page>;
  const auto rig = made<rig_type, Model>();
  if (!rig) return;
  const auto before = rig->state();

  // How many pieces there are depends on where the host put the memory, so it is counted on the
  // memory at hand.
  std::uint64_t pieces = 0;
  {
    std::stop_source stop;
    monitored watch{stop.get_token(), counting{&pieces, &stop, 0}};
    auto group = must(rig->dma->attach(pinning_group(), watch));
    CHECK(pieces == rig->dma->usage().mappings);
    const auto reported = pieces;
    // nothing to map: nothing to report
    auto again = must(rig->dma->attach(pinning_group("disks"), watch));
    CHECK(pieces == reported);
    must(again.detach());
    must(group.detach());
  }
  REQUIRE(pieces >= 4);

  for (const std::uint64_t stop_at : {std::uint64_t{1}, std::uint64_t{2}, pieces / 2, pieces - 1}) {
    CAPTURE(stop_at);
    std::stop_source stop;
    std::uint64_t seen = 0;
    monitored watch{stop.get_token(), counting{&seen, &stop, stop_at}};
    const auto cancelled = rig->dma->attach(pinning_group(), watch);
    REQUIRE_FALSE(cancelled);
    CHECK(cancelled.error().code() == std::make_error_code(std::errc::operation_canceled));
    CHECK(seen == stop_at);
    const auto after = rig->state();
    CHECK_MESSAGE(after == before, after.text());
    auto group = must(rig->dma->attach(pinning_group()));
    CHECK(rig->stale_strikes == 0);
    must(group.detach());
  }
}

}  // namespace

TEST_CASE(
    "the hold stands before the join and every map, and until after every unmap and the leave, on "
    "a software IOMMU") {
  story_of_one_group<on_software, inhibit_per_group>();
  story_of_one_group<on_software, inhibit_per_container, largest_page>();
}
TEST_CASE(
    "the hold stands before the join and every map, and until after every unmap and the leave, on "
    "io_uring's pins") {
  story_of_one_group<on_io_uring, inhibit_per_group>();
  story_of_one_group<on_io_uring, inhibit_per_container, largest_page>();
  story_of_one_group<on_io_uring, inhibit_per_device, fixed_block<64 * KiB>>();
}
TEST_CASE(
    "joining a populated container is a pin point, so the hold is taken again before it, with "
    "every policy") {
  story_of_a_late_pin<inhibit_per_group>();
  story_of_a_late_pin<inhibit_per_container>();
  story_of_a_late_pin<inhibit_per_device, fixed_block<64 * KiB>>();
}
TEST_CASE(
    "an attach reports each piece, and a cancelled one is a failed one: everything is put back") {
  story_of_a_cancelled_attach<on_software>();
  story_of_a_cancelled_attach<on_io_uring>();
}

TEST_CASE(
    "memory that was discarded before an attach is whole again for both, and the balloon waits "
    "until the detach") {
  const auto rig = made<passthrough<on_io_uring>, on_io_uring>();
  if (!rig) return;
  rig->book.before_each({});
  rig->book.after_each({});
  {
    const auto permit = rig->gate.permit(discard_kind::uncoordinated);
    REQUIRE(static_cast<bool>(permit));
    must(rig->low->discard({block_offset{0}, block_offset{64 * KiB - 1}}, permit));
    must(rig->high->discard({block_offset{0}, block_offset{128 * KiB - 1}}, permit));
  }
  auto group = must(rig->dma->attach(pinning_group()));
  auto nic = must(group.open("nic"));
  CHECK(rig->disagreements(*nic) == 0);
  rig->fill();
  CHECK(rig->disagreements(*nic) == 0);
  CHECK_FALSE(may_discard(rig->gate, discard_kind::uncoordinated));
  CHECK_FALSE(may_discard(rig->gate, discard_kind::coordinated));
  must(group.detach());
  CHECK(may_discard(rig->gate, discard_kind::uncoordinated));
}

TEST_CASE("a container that ends detaches everything, devices and groups, in its order") {
  const auto rig = made<passthrough<on_io_uring, inhibit_per_device>, on_io_uring>();
  if (!rig) return;
  const std::uint64_t pinned_at_first = pinned_by_the_kernel();
  auto nics = must(rig->dma->attach(pinning_group()));
  auto vgpus = must(rig->dma->attach(mediated_group()));
  static_cast<void>(must(nics.open("nic")));
  static_cast<void>(must(vgpus.open("vgpu", agrees_to_discards)));
  static_cast<void>(must(vgpus.open("vgpu2")));
  CHECK(rig->gate.counts().any_holds == 3);
  CHECK(pinned_by_the_kernel() > pinned_at_first);
  rig->book.clear();
  rig->book.before_each({});
  rig->book.after_each({});
  rig->dma.reset();
  CHECK(rig->gate.counts() == gate_counts{});
  CHECK(pinned_by_the_kernel() == pinned_at_first);
  std::vector<std::string> told;
  for (auto const& entry : rig->book.entries()) {
    if (entry.what != backend_call::unmap) told.push_back(sentence(entry));
  }
  CHECK(told == std::vector<std::string>{"close 'vgpu'", "close 'vgpu2'", "leave 'vgpus'",
                                         "close 'nic'", "quiesce", "leave 'nics'"});
}

TEST_CASE("an attach by a thread that is discarding is refused, and nothing was touched") {
  const auto rig = made<passthrough<on_io_uring>, on_io_uring>();
  if (!rig) return;
  const auto before = rig->state();
  {
    const auto permit = rig->gate.permit(discard_kind::coordinated);
    const auto refused = rig->dma->attach(pinning_group());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == std::make_error_code(std::errc::resource_deadlock_would_occur));
    CHECK(refused.error().subject() == "nics");
  }
  CHECK(rig->state() == before);
  CHECK(rig->book.entries().empty());
}

}  // namespace scenario_attach
