// SPDX-License-Identifier: BSL-1.0
// Law 15 again: where the user lets the kernel merge equal pages (KSM, MADV_MERGEABLE) and it uses
// the zero page for what is all zeros, a page that was brought in for writing can be the shared
// zero page once more before it is pinned.
// tier: 1
// machine: -device edu -smp 2
// modules: mdev
#include <system/aliased.hpp>

#include <chrono>
#include <cstdio>
#include <sys/mman.h>
#include <thread>

namespace system_zero_pages_merged {

using namespace in_machine;

namespace {

/// The kernel merges as fast as it can while this lives.
class merging {
 public:
  merging() {
    set("use_zero_pages", "1");
    set("pages_to_scan", "1000");
    set("sleep_millisecs", "1");
    set("run", "1");
    let(known_);
  }
  merging(merging const&) = delete;
  merging& operator=(merging const&) = delete;
  ~merging() {
    set("run", "0");
    set("use_zero_pages", "0");
  }

  static void let(ram_block const& block) {
    REQUIRE(::madvise(block.data(), block.size(), MADV_MERGEABLE) == 0);
  }

  /// Until the kernel has merged all of the block, or would have if it still might: by then it has
  /// merged other memory that was written after this, and has looked at all there is twice more.
  /// Answers whether it has.
  [[nodiscard]] bool merges(ram_block const& block) {
    std::ranges::fill(std::span{known_.data(), known_.size()}, std::byte{0});
    wait([&] { return merged(block) || merged(known_); });
    const auto until = scans() + 2;
    wait([&] { return merged(block) || (merged(known_) && scans() >= until); });
    return merged(block);
  }

 private:
  static void set(const char* name, const char* value) {
    write_file(std::filesystem::path{"/sys/kernel/mm/ksm"} / name, value);
  }
  static std::uint64_t scans() {
    std::uint64_t count = 0;
    std::ifstream{"/sys/kernel/mm/ksm/full_scans"} >> count;
    return count;
  }
  static bool merged(ram_block const& block) {
    const auto frames = frames_behind(block);
    return frames.front() != 0 &&
           std::ranges::count(frames, frames.front()) == static_cast<std::ptrdiff_t>(frames.size());
  }
  template <class Condition>
  static void wait(Condition holds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    while (!holds()) {
      if (std::chrono::steady_clock::now() > until) FAIL("the kernel merges nothing");
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
  }

  ram_block known_ = must(ram_block::allocate("known to be merged", 16 * page));
};

}  // namespace

TEST_CASE(
    "without tether the kernel pins the zero page behind a read-only mapping of what it has merged "
    "into it") {
  for (const auto content : {std::byte{0}, std::byte{0x11}}) {
    merging kernel;
    aliased_by_hand v;
    std::ranges::fill(std::span{v.ram.data(), v.ram.size()}, content);
    merging::let(v.ram);
    REQUIRE(kernel.merges(v.ram));
    auto group = must(v.iommu.join(group_of(edu_address())));
    v.map();
    const auto different = v.stale_in(group);
    std::printf(
        "figures  %llu of %llu bytes are stale without tether, of pages of 0x%02x that were "
        "merged\n",
        static_cast<unsigned long long>(different), static_cast<unsigned long long>(compared),
        static_cast<unsigned>(content));
    // a page that is merged, and not zero, is unshared to be pinned
    CHECK(different == (content == std::byte{0} ? compared : 0));
    must(v.iommu.leave(group));
  }
}

TEST_CASE("what was merged before the join is coherent after it, read-only mappings too") {
  for (const auto content : {std::byte{0}, std::byte{0x11}}) {
    merging kernel;
    mediated_device serial;
    aliased<inhibit_per_group> v;
    auto emulated = must(v.dma.attach(serial.group()));
    static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
    v.fill(content);
    merging::let(v.ram);
    REQUIRE(kernel.merges(v.ram));
    auto real = must(v.dma.attach(group_of(edu_address())));
    v.device_and_cpu_agree(real, 1);
    must(real.detach());
    must(emulated.detach());
  }
}

TEST_CASE(
    "and nothing is merged between being brought in and being pinned, by a join or by a mapping") {
  for (const bool by_joining : {true, false}) {
    merging kernel;
    std::optional<mediated_device> serial;
    aliased_on<recording<vfio_type1>, inhibit_per_group> v;
    using group_type = typename decltype(v)::container_type::attached;
    std::optional<group_type> emulated;
    if (by_joining) {
      emulated.emplace(must(v.dma.attach(serial.emplace().group())));
      static_cast<void>(must(emulated->open(serial->name(), agrees_to_discards)));
    }
    v.fill(std::byte{0});
    merging::let(v.ram);
    REQUIRE(kernel.merges(v.ram));
    unsigned waited = 0;
    v.dma.backend().log().before_each([&](journal_entry const& entry) {
      const bool pins =
          by_joining ? entry.what == backend_call::join
                     : entry.what == backend_call::map && entry.where->first.value == alias_at;
      if (!pins) return;
      ++waited;
      CHECK(!kernel.merges(v.ram));
    });
    auto real = must(v.dma.attach(group_of(edu_address())));
    v.dma.backend().log().before_each({});
    CHECK(waited == 1);
    v.device_and_cpu_agree(real, 2);
    must(real.detach());
    if (emulated) must(emulated->detach());
  }
}

}  // namespace system_zero_pages_merged
