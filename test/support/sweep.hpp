// SPDX-License-Identifier: BSL-1.0
// Walks every failure that an operation can meet: its n-th system call fails, for every n until
// none does; two of its calls fail, so that the rollback of the first fails as well; its n-th
// allocation fails; an allocation and a call. Each time in a fresh world.
//
//     done    although a call failed: what failed was not needed, and the world must be consistent
//     failed  and rolled back: the world is as before, and the operation works now
//     stuck   or diverged: it says so and refuses, keeps its holds, and can be abandoned
#pragma once

#include <support/failing_allocation.hpp>
#include <support/faulty_kernel.hpp>

#include <tether/core/error.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace tether_test {

/// A kernel whose own allocations are not made to fail: fakes allocate for their state, and must
/// not be what runs out.
template <class Kernel>
struct kernel_with_own_memory : Kernel {
  using typename Kernel::answer;

  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    const spared allocations;
    return Kernel::mmap(size, protection, flags, descriptor, offset);
  }
  [[nodiscard]] static answer munmap(std::uint64_t host, std::uint64_t size) noexcept {
    const spared allocations;
    return Kernel::munmap(host, size);
  }
  [[nodiscard]] static answer duplicate(int descriptor) noexcept {
    const spared allocations;
    return Kernel::duplicate(descriptor);
  }
  [[nodiscard]] static answer fstat(int descriptor, struct stat& status) noexcept {
    const spared allocations;
    return Kernel::fstat(descriptor, status);
  }
  [[nodiscard]] static answer stat(const char* path, struct stat& status) noexcept {
    const spared allocations;
    return Kernel::stat(path, status);
  }
  [[nodiscard]] static answer close(int descriptor) noexcept {
    const spared allocations;
    return Kernel::close(descriptor);
  }
  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    const spared allocations;
    return Kernel::call(number, arguments...);
  }

 private:
  class spared {
   public:
    spared() noexcept : kept_{std::exchange(failing_allocation, 0)} {}
    spared(spared const&) = delete;
    spared& operator=(spared const&) = delete;
    ~spared() { failing_allocation = kept_; }

   private:
    std::uint64_t kept_;
  };
};

/// Which calls and which allocation fail, counted from the beginning of the operation. 0: none.
struct sweep_faults {
  std::uint64_t call = 0;
  std::uint64_t second_call = 0;
  std::uint64_t allocation = 0;

  [[nodiscard]] std::uint64_t count() const noexcept {
    return (call != 0 ? 1U : 0U) + (second_call != 0 ? 1U : 0U) + (allocation != 0 ? 1U : 0U);
  }
};

/// How a call fails. `cleanup`: `close` and `munmap` count and fail too; a failed close frees its
/// descriptor all the same, as Linux's does, a failed munmap leaves the area mapped. `in_pairs`:
/// two calls as well, and a call with an allocation.
struct sweep_way {
  int errno_value = EIO;
  bool cleanup = false;
  bool in_pairs = true;
};

/// What has been walked, for the README.
struct sweep_figures {
  std::uint64_t operations = 0;
  std::uint64_t single = 0;
  std::uint64_t twofold = 0;
  std::uint64_t taken_back = 0;
  std::uint64_t not_needed = 0;
  std::uint64_t diverged = 0;

  void print(const char* what) const {
    std::printf(
        "figures: fault sweep %s: %llu operations swept, %llu single and %llu double faults; %llu "
        "rolled back, %llu not needed, %llu "
        "diverged\n",
        what, number(operations), number(single), number(twofold), number(taken_back),
        number(not_needed), number(diverged));
    std::fflush(stdout);
  }

 private:
  static unsigned long long number(std::uint64_t value) noexcept { return value; }
};

/// One operation, and how the world gets to where it is possible. `World` has `state()`, which is
/// compared whole and printed; `stuck(error)`, whether the error says that the world has diverged
/// from the kernel, and `check_diverged(before)`, which releases everything; `check_consistent()`;
/// `check_at_rest()`, after everything ended.
template <class World>
struct sweep_operation {
  const char* name;
  void (*prepare)(World&);
  tether::result<void> (*act)(World&);
  /// A refused one may be done in part: then it is consistent, and does the rest when it is asked
  /// again.
  bool goes_on = false;
  /// It makes no call and no allocation that it could do without: outside of a cleanup it succeeds
  /// only if none fails.
  bool needs_all = false;
};

/// What came of one attempt.
struct sweep_attempt {
  std::uint64_t struck = 0;  ///< how many of the faults
  std::uint64_t calls = 0;   ///< how many calls there were, those of a rollback too
};

/// One attempt in a world of its own, and whether what came of it is right.
template <class World>
sweep_attempt try_faults(sweep_operation<World> const& one, sweep_faults const& faults,
                         sweep_figures& figures, sweep_way way = {}) {
  CAPTURE(way.errno_value);
  CAPTURE(way.cleanup);
  CAPTURE(faults.call);
  CAPTURE(faults.second_call);
  CAPTURE(faults.allocation);
  World w;
  one.prepare(w);
  const auto before = w.state();
  tether::faulty_kernel::reset();
  tether::faulty_kernel::count_cleanup(way.cleanup);
  tether::faulty_kernel::fail_at(faults.call, way.errno_value);
  tether::faulty_kernel::also_fail_at(faults.second_call);
  failing_allocation = faults.allocation;
  auto done = one.act(w);
  const std::uint64_t struck = tether::faulty_kernel::fired() +
                               (faults.allocation != 0 && failing_allocation == 0 ? 1U : 0U);
  const sweep_attempt attempt{struck, tether::faulty_kernel::calls()};
  failing_allocation = 0;
  tether::faulty_kernel::reset();
  if (struck != faults.count()) {
    // Those that struck have been tried by themselves.
    if (struck == 0) CHECK_MESSAGE(done, "without a fault it works");
    return attempt;
  }
  (faults.count() == 1 ? figures.single : figures.twofold) += 1;
  if (w.stuck(done)) {
    figures.diverged += 1;
    w.check_diverged(before);
  } else if (done) {
    figures.not_needed += 1;
    CHECK_MESSAGE((!one.needs_all || way.cleanup), "it works although what it needs has failed");
    w.check_consistent();
  } else {
    const std::string why = done.error().sentence();
    CAPTURE(why);
    const auto after = w.state();
    if (one.goes_on) w.check_consistent();
    else CHECK_MESSAGE(after == before, "after:  ", after, "\nbefore: ", before);
    figures.taken_back += 1;
    const auto again = one.act(w);
    CHECK_MESSAGE(again, "the same works when nothing fails: ",
                  again ? std::string{} : again.error().sentence());
  }
  w.check_at_rest();
  return attempt;
}

/// All faults of one operation. Ends with the first that finds nothing left to strike.
template <class World>
void sweep(sweep_operation<World> const& one, sweep_figures& figures, sweep_way way = {}) {
  const std::string name = one.name;
  CAPTURE(name);
  figures.operations += 1;
  std::uint64_t calls = 0;
  while (try_faults(one, {.call = calls + 1}, figures, way).struck == 1) ++calls;
  for (std::uint64_t n = 1; way.in_pairs && n <= calls; ++n)
    for (std::uint64_t m = n + 1;
         try_faults(one, {.call = n, .second_call = m}, figures, way).struck == 2;)
      ++m;
  if (!allocations_can_fail) return;
  for (std::uint64_t n = 1;; ++n) {
    const sweep_attempt alone = try_faults(one, {.allocation = n}, figures, way);
    if (alone.struck == 0) break;
    if (!way.in_pairs) continue;
    // The calls after the failed allocation, from the last one down. A call before it strikes
    // alone.
    for (std::uint64_t m = alone.calls;
         m != 0 && try_faults(one, {.call = m, .allocation = n}, figures, way).struck == 2;)
      --m;
  }
}

}  // namespace tether_test
