// SPDX-License-Identifier: BSL-1.0
// The operations beside a container that ask a kernel for something: making memory, bringing it in,
// giving it back, and what a balloon and page reporting make of it. Each call and each allocation
// fails, alone and in pairs. The gate asks for neither.
#include <support/guest_ram.hpp>
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/sweep.hpp>

#include <tether/core/stop_token.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <sys/mman.h>
#include <utility>
#include <vector>

namespace exhaustive_fault_sweep_memory {

using namespace tether;
using namespace tether_test;

namespace {

/// Knows what `munmap` has refused to unmap, until it does: where nobody else can ask again, that
/// much is left, and no more.
struct remembering_kernel : faulty_kernel {
  static inline std::vector<std::pair<std::uint64_t, std::uint64_t>> refused;

  [[nodiscard]] static answer munmap(std::uint64_t host, std::uint64_t size) noexcept {
    const answer done = faulty_kernel::munmap(host, size);
    if (done < 0) refused.emplace_back(host, size);
    else std::erase(refused, std::pair{host, size});
    return done;
  }
  static void unmap_what_was_refused() {
    for (auto const& [host, size] : std::exchange(refused, {}))
      static_cast<void>(linux_kernel::munmap(host, size));
  }
};

using swept_kernel = kernel_with_own_memory<remembering_kernel>;

template <class T>
result<void> plain(result<T> const& done) {
  return done ? result<void>{} : failure(done.error());
}

/// A process that makes a block. `large` is never touched, only seen in the size of the process.
struct memory_world {
  static constexpr std::uint64_t large = 256 * MiB;
  std::size_t descriptors_at_first = descriptors().size();
  std::uint64_t mapped_at_first = mapped_bytes();
  int file = static_cast<int>(linux_kernel::memfd_create("file", MFD_CLOEXEC));
  void* lent =
      ::mmap(nullptr, 16 * KiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* snapshot = ::mmap(nullptr, 16 * KiB, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  std::optional<ram_block> first;
  std::optional<ram_block> made;

  memory_world() { REQUIRE(linux_kernel::ftruncate(file, large) == 0); }
  memory_world(memory_world const&) = delete;
  memory_world& operator=(memory_world const&) = delete;
  ~memory_world() { let_go(); }

  result<void> keep(result<ram_block> block) {
    if (!block) return failure(block.error());
    made.emplace(std::move(*block));
    return {};
  }
  void allocate(memory_kind kind) {
    must(keep(ram_block::allocate<swept_kernel>("to be freed", large, kind)));
  }
  /// Another block of the file, before.
  void receive() {
    first.emplace(must(ram_block::from_descriptor<swept_kernel>("first", file, 0, 4 * frame)));
  }
  result<void> lend_snapshot() {
    const host_address at{reinterpret_cast<std::uintptr_t>(snapshot)};
    return keep(
        ram_block::borrow<swept_kernel>("snapshot", at, 16 * KiB, memory_kind::private_file));
  }
  void let_go() {
    made.reset();
    first.reset();
    if (snapshot != nullptr) ::munmap(std::exchange(snapshot, nullptr), 16 * KiB);
    if (lent != nullptr) ::munmap(std::exchange(lent, nullptr), 16 * KiB);
    if (file >= 0) static_cast<void>(linux_kernel::close(std::exchange(file, -1)));
  }
  [[nodiscard]] bool has_more_memory() const {
    return mapped_bytes() > mapped_at_first + large / 2;
  }

  [[nodiscard]] std::string state() const {
    const bool there = made && *made;
    if (!there) remembering_kernel::unmap_what_was_refused();
    std::string all = there ? "made" : "nothing";
    // A large one is never touched: looking would bring its pages in.
    if (there && made->size() < large)
      all += ", of marked frames " + std::to_string(count(*made).marked);
    for (auto const& [number, target] : descriptors()) all += " " + std::to_string(number);
    return all + (has_more_memory() ? ", more memory" : "");
  }
  [[nodiscard]] static bool stuck(result<void> const&) { return false; }
  void check_diverged(std::string const&) {}
  void check_consistent() {}
  void check_at_rest() {
    let_go();
    remembering_kernel::unmap_what_was_refused();
    CHECK(descriptors().size() == descriptors_at_first);
    CHECK_FALSE(has_more_memory());
  }
};

/// A guest of small pages, and of memory whose pages are four frames large.
template <bool MustTellHost = true>
struct ballooned_world {
  static constexpr std::uint64_t large_page = 4 * frame;
  ram_block small = must(ram_block::allocate<swept_kernel>("small", 16 * frame));
  std::byte* area = static_cast<std::byte*>(
      ::mmap(nullptr, 12 * frame, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ram_block large = must(ram_block::borrow<swept_kernel>(
      "large", host_address{round_up(reinterpret_cast<std::uintptr_t>(area), large_page)},
      8 * frame, memory_kind::private_anonymous, large_page));
  address_space guest;
  discard_gate<> gate;
  balloon<> device{guest, gate, {.must_tell_host = MustTellHost}};
  discard_report report{};
  bool went_too_early = false;

  ballooned_world() {
    ::madvise(area, 12 * frame, MADV_NOHUGEPAGE);
    mark_all(small);
    mark_all(large);
    static_cast<void>(must(guest.place(region::ram(small), guest_address{0})));
    static_cast<void>(must(guest.place(region::ram(large), guest_address{1 * MiB})));
  }
  ballooned_world(ballooned_world const&) = delete;
  ballooned_world& operator=(ballooned_world const&) = delete;
  ~ballooned_world() { ::munmap(area, 12 * frame); }

  result<void> told(discard_report const& now) {
    report = now;
    return report.first_error ? result<void>{failure(*report.first_error)} : result<void>{};
  }
  /// Gives a large page in parts, takes one back before it is complete, and gives it again.
  result<void> hesitate() {
    constexpr std::array<std::uint32_t, 2> half{256, 257};
    constexpr std::array<std::uint32_t, 2> back{256, 1};
    constexpr std::array<std::uint32_t, 2> rest{258, 259};
    constexpr std::array<std::uint32_t, 4> all{256, 257, 258, 259};
    device.reset();
    mark_all(large);
    discard_report so_far = device.inflate(std::span<std::uint32_t const>{half});
    so_far += device.deflate(std::span<std::uint32_t const>{back});
    so_far += device.inflate(std::span<std::uint32_t const>{rest});
    went_too_early = went_too_early || count(large).gone != 0;
    so_far += device.inflate(std::span<std::uint32_t const>{all}.first(1));
    if constexpr (!MustTellHost) {
      went_too_early = went_too_early || count(large).gone != 0;
      so_far += device.inflate(std::span<std::uint32_t const>{all});
    }
    return told(so_far);
  }
  result<void> inflate() {
    // Three runs of small frames, and all frames of a large page.
    constexpr std::array<std::uint32_t, 10> frames{1, 2, 3, 7, 9, 10, 256, 257, 258, 259};
    return told(device.inflate(std::span<std::uint32_t const>{frames}));
  }
  result<void> report_pages() {
    const std::array<extent<guest_address>, 2> free{
        {{guest_address{frame}, guest_address{4 * frame - 1}},
         {guest_address{1 * MiB}, guest_address{1 * MiB + large_page - 1}}}};
    return told(page_reporting<>{guest, gate}.report(free));
  }

  [[nodiscard]] std::string state() const {
    const auto few = count(small);
    const auto many = count(large);
    return "gone " + std::to_string(few.gone) + "+" + std::to_string(many.gone) + ", marked " +
           std::to_string(few.marked) + "+" + std::to_string(many.marked);
  }
  [[nodiscard]] static bool stuck(result<void> const&) { return false; }
  void check_diverged(std::string const&) {}
  /// Memory is as the report says: what went went, all else is as the guest left it.
  void check_consistent() {
    CHECK(report.adds_up());
    const auto few = count(small);
    const auto many = count(large);
    CHECK(few.gone + many.gone == report.discarded + report.completed);
    CHECK(few.marked + few.gone == 16);
    CHECK(many.marked + many.gone == 8);
  }
  void check_at_rest() {
    CHECK(gate.counts() == gate_counts{});
    CHECK_FALSE(went_too_early);
  }
};

std::vector<sweep_operation<memory_world>> makings() {
  const auto nothing = [](memory_world&) {};
  return {
      {"allocate private memory", nothing,
       [](memory_world& w) {
         return w.keep(ram_block::allocate<swept_kernel>("private", w.large));
       }},
      {"allocate shared memory", nothing,
       [](memory_world& w) {
         return w.keep(ram_block::allocate<swept_kernel>("shared", w.large, memory_kind::shared));
       }},
      {"take a descriptor's memory", nothing,
       [](memory_world& w) {
         return w.keep(ram_block::from_descriptor<swept_kernel>("file", w.file, 0, w.large));
       }},
      {"borrow memory", nothing,
       [](memory_world& w) {
         const host_address at{reinterpret_cast<std::uintptr_t>(w.lent)};
         return w.keep(
             ram_block::borrow<swept_kernel>("lent", at, 16 * KiB, memory_kind::private_anonymous));
       }},
      {"borrow a snapshot", nothing, [](memory_world& w) { return w.lend_snapshot(); }},
      {"take a part of a file", nothing,
       [](memory_world& w) {
         return w.keep(
             ram_block::from_descriptor<swept_kernel>("part", w.file, 8 * frame, 4 * frame));
       }},
      {"take another part of a file", [](memory_world& w) { w.receive(); },
       [](memory_world& w) {
         return w.keep(
             ram_block::from_descriptor<swept_kernel>("part", w.file, 8 * frame, 4 * frame));
       }},
  };
}

discard_gate<> nobody_holds;  // made before anything is made to fail

result<void> discard_first_two(ram_block& block) {
  const auto permit = nobody_holds.permit(discard_kind::uncoordinated);
  return block.discard({block_offset{0}, block_offset{2 * frame - 1}}, permit);
}

}  // namespace

TEST_CASE(
    "whichever call or allocation fails while memory is made, brought in or given back, nothing is "
    "left behind") {
  std::vector<sweep_operation<memory_world>> operations = makings();
  const std::vector<sweep_operation<memory_world>> others{
      {"populate",
       [](memory_world& w) {
         must(w.keep(ram_block::allocate<swept_kernel>("private", 4 * frame)));
       },
       [](memory_world& w) {
         return w.made->populate({block_offset{0}, block_offset{4 * frame - 1}});
       }},
      {"discard private memory",
       [](memory_world& w) {
         must(w.keep(ram_block::allocate<swept_kernel>("private", 4 * frame)));
         mark_all(*w.made);
       },
       [](memory_world& w) { return discard_first_two(*w.made); }},
      {"discard shared memory",
       [](memory_world& w) {
         must(w.keep(ram_block::allocate<swept_kernel>("shared", 4 * frame, memory_kind::shared)));
         mark_all(*w.made);
       },
       [](memory_world& w) { return discard_first_two(*w.made); }},
      {"discard a snapshot's memory",
       [](memory_world& w) {
         must(w.lend_snapshot());
         mark_all(*w.made);
       },
       [](memory_world& w) { return discard_first_two(*w.made); }},
  };
  operations.insert(operations.end(), others.begin(), others.end());
  sweep_figures figures;
  for (const int errno_value : {EIO, ENOMEM, EBUSY}) {
    for (auto const& one : operations) sweep(one, figures, {.errno_value = errno_value});
  }
  CHECK(figures.taken_back > 36);
  figures.print("of memory, with three errnos");
}

TEST_CASE(
    "whichever close or munmap fails as well while memory is made or freed, only what munmap "
    "refused is left") {
  auto operations = makings();
  for (const memory_kind kind : {memory_kind::private_anonymous, memory_kind::shared}) {
    const auto prepare = kind == memory_kind::shared
                             ? +[](memory_world& w) { w.allocate(memory_kind::shared); }
                             : +[](memory_world& w) { w.allocate(memory_kind::private_anonymous); };
    operations.push_back({"free", prepare, [](memory_world& w) { return w.made->free(); }});
  }
  sweep_figures figures;
  for (auto const& one : operations) sweep(one, figures, {.cleanup = true});
  CHECK(figures.taken_back != 0);
  CHECK(figures.not_needed != 0);
  figures.print("of memory, close and munmap too");
}

TEST_CASE(
    "whichever call or allocation fails while a guest gives memory back, memory is as the report "
    "says, and asking again finishes it") {
  using telling = ballooned_world<true>;
  using forgetful = ballooned_world<false>;
  const std::vector<sweep_operation<telling>> where_it_tells{
      {"inflate", [](telling&) {}, [](telling& w) { return w.inflate(); }, true},
      {"report free pages", [](telling&) {}, [](telling& w) { return w.report_pages(); }, true},
      {"inflate, deflate and inflate again", [](telling&) {},
       [](telling& w) { return w.hesitate(); }, true},
  };
  const std::vector<sweep_operation<forgetful>> where_it_does_not{
      {"inflate, nothing being kept", [](forgetful&) {}, [](forgetful& w) { return w.inflate(); },
       true},
      {"inflate, deflate and inflate again, nothing being kept", [](forgetful&) {},
       [](forgetful& w) { return w.hesitate(); }, true},
  };
  sweep_figures figures;
  for (auto const& one : where_it_tells) sweep(one, figures);
  for (auto const& one : where_it_does_not) sweep(one, figures);
  CHECK(figures.taken_back > 8);
  figures.print("of discards");
}

TEST_CASE(
    "a deflate asks for no memory and makes no call, whether something was given in parts or not") {
  ballooned_world<true> w;
  constexpr std::array<std::uint32_t, 3> parts{1, 256, 257};
  for (const bool given : {false, true}) {
    if (given) static_cast<void>(w.device.inflate(std::span<std::uint32_t const>{parts}));
    faulty_kernel::reset();
    failing_allocation = 1;
    const auto done = w.device.deflate(std::span<std::uint32_t const>{parts});
    const auto left = std::exchange(failing_allocation, 0);
    CHECK(left == 1);
    CHECK(faulty_kernel::calls() == 0);
    CHECK(done.returned == 3);
    CHECK(done.adds_up());
  }
}

TEST_CASE("the gate asks for no memory, whoever holds, requires, suspends or discards") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  discard_gate<> gate;
  std::stop_source stop;
  const auto soon = std::chrono::steady_clock::now() + std::chrono::hours{1};
  failing_allocation = 1;
  {
    auto first = gate.hold(hold_kind::any,
                           "a name that is too long to be kept in a string without an allocation");
    const auto second = gate.try_hold(hold_kind::uncoordinated, "another");
    const auto third = gate.hold_until(hold_kind::any, "until", soon);
    const auto fourth = gate.hold(hold_kind::any, "unless stopped", stop.get_token());
    const auto refused = gate.require(requirement_kind::any, "a memory device");
    const auto suspended = gate.suspend("a snapshot");
    const auto moved = std::move(first);
    const bool inhibited = !tether_test::may_discard(gate, discard_kind::uncoordinated);
    failing_allocation += inhibited && second && third && fourth && moved && !refused ? 0U : 100U;
  }
  {
    const auto required = gate.require(requirement_kind::coordinated, "a memory device");
    const auto permit = gate.permit(discard_kind::coordinated);
    const auto refused = gate.hold(hold_kind::any, "a container");
    failing_allocation += required && permit && !refused ? 0U : 100U;
  }
  const auto left = std::exchange(failing_allocation, 0);
  CHECK(left == 1);
  CHECK(gate.counts() == gate_counts{});
}

}  // namespace exhaustive_fault_sweep_memory
