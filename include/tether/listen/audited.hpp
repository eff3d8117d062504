// SPDX-License-Identifier: BSL-1.0
// Records the page frames that a container has pinned, so that `audit` (attach/audit.hpp) can check
// at any time whether the CPU's page tables still map the same: an observation policy for test
// suites and for diagnosis.
//
//     mapped, something pins -> frames read, recorded     device:  frame 812  frame 813
//     audit                  -> frames read, compared     CPU:     frame 812  frame 977   <- stale
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/pagemap.hpp>
#include <tether/core/slots.hpp>
#include <tether/listen/observation.hpp>
#include <tether/topology/section.hpp>

#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace tether {

/// How the CPU's page differs from the device's.
enum class staleness : std::uint8_t {
  absent,    ///< the CPU has none: the next access faults in another
  replaced,  ///< the CPU has another one
};

/// Consecutive pages for which device and CPU use different page frames.
struct stale_extent {
  extent<io_address> where{};         ///< where devices see it
  host_address host{};                ///< where the CPU sees it
  staleness how = staleness::absent;  ///< in which way it is stale
  extent<io_address> mapped_as{};     ///< the mapping that they belong to

  friend constexpr bool operator==(stale_extent const&, stale_extent const&) noexcept = default;
};

/// What an audit found.
struct audit_report {
  std::vector<stale_extent> stale{};  ///< what devices and CPU see differently
  std::uint64_t compared = 0;         ///< bytes that were compared
  /// bytes mapped that nothing pins, that are device memory, or whose frames could not be read
  std::uint64_t not_compared = 0;
  /// false once a mapping could not be recorded at all for lack of memory
  bool complete = true;
  /// Whether frame numbers were compared. If this process may not see them, a page is only known to
  /// be stale while it is absent: run the audit with CAP_SYS_ADMIN.
  bool by_frame_number = true;

  /// Whether nothing is stale.
  [[nodiscard]] bool clean() const noexcept { return stale.empty(); }
};

namespace detail {

/// A value, and not the concepts, of which a compiler would explain each operand.
template <class Observer>
inline constexpr bool would_be_told =
    notifications_callable<Observer> && has_notifications<Observer>;
/// A class of its own, as those in `attach/detail/refusals.hpp`.
template <class Observer>
struct observer_beside_never_told {
  static_assert(would_be_told<Observer>,
                "tether[O5]: the observer beside tether::audited has a function that would never "
                "be told, or none at all: 'mapped', 'unmapped', 'trimmed', 'left_out', 'pinning' "
                "and 'diverged' are public and noexcept");
};
/// One that is refused is left out, so that nothing behind it is refused as well.
template <class Observer>
struct observer_beside {
  using type = std::conditional_t<would_be_told<Observer>, Observer, no_observation>;
  static_assert(sizeof(observer_beside_never_told<Observer>) != 0);
};

}  // namespace detail

/// The policy. `Next` is an observer to which every notification is forwarded.
/// Cost: 8 bytes per pinned page, and a system call per 512 of them whenever they are mapped or
/// become pinned.
template <observation Next = no_observation, class Kernel = linux_kernel>
class basic_audited {
  static_assert(sizeof(detail::observer_beside_never_told<Next>) != 0);

 public:
  using slot = observation_slot;

  void mapped(mapping const& what) noexcept {
    record(what);
    detail::notify_mapped(next_, what);
  }
  void unmapped(extent<io_address> where) noexcept {
    if (where.valid())
      recorded_.erase(recorded_.lower_bound(where.first.value),
                      recorded_.upper_bound(where.last.value));
    complete_ = complete_ || where.is_everything();
    detail::notify_unmapped(next_, where);
  }
  void pinning(bool everything) noexcept {
    // Told after each join and leave: only one that changes it costs something for each mapping.
    if (std::exchange(pinning_, everything) != everything) {
      for (auto& [first, one] : recorded_) {
        if (everything) record_frames(one);
        else one.frames.reset();
      }
    }
    detail::notify_pinning(next_, everything);
  }
  void trimmed(section const& what, std::uint64_t bytes) noexcept {
    detail::notify_trimmed(next_, what, bytes);
  }
  void left_out(section const& what, error const& why) noexcept {
    detail::notify_left_out(next_, what, why);
  }
  void diverged(error const& why) noexcept { detail::notify_diverged(next_, why); }

  [[nodiscard]] Next& next() noexcept { return next_; }

  /// Compares. Requires: nothing is mapped or unmapped meanwhile, which `tether::audit` ensures.
  /// Fails: the kernel's errno where the pagemap cannot be read; not enough memory.
  [[nodiscard]] result<audit_report> compare() const noexcept {
    TETHER_TRY {
      audit_report report;
      auto frames = page_frames<Kernel>::open();
      if (!frames) return failure(frames.error());
      report.complete = complete_;
      for (auto const& [first, one] : recorded_) {
        if (!one.frames) {
          report.not_compared += one.what.where.size();
          continue;
        }
        report.compared += one.what.where.size();
        if (auto done = compare(one, *frames, report); !done) return failure(done.error());
      }
      return report;
    }
    TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("audit")); }
  }

 private:
  struct entry {
    mapping what{};
    std::optional<std::vector<page_frame>> frames{};  ///< at the time it became pinned
  };

  void record(mapping const& what) noexcept {
    TETHER_TRY {
      if (!what.where.valid()) {
        complete_ = false;
        return;
      }
      entry& fresh = recorded_[what.where.first.value];
      fresh.what = what;
      fresh.frames.reset();
      if (pinning_) record_frames(fresh);
    }
    TETHER_CATCH(std::exception const&) { complete_ = false; }
  }
  /// A mapping whose frames cannot be read is reported as not compared.
  static void record_frames(entry& one) noexcept {
    TETHER_TRY {
      one.frames.reset();
      if (one.what.memory == memory_kind::device) return;
      const auto list = page_frames<Kernel>::open();
      if (!list) return;
      std::vector<page_frame> now(pages_of(one.what));
      const auto keep = [&](std::uint64_t at, page_frame frame) { now[at] = frame; };
      if (list->look(one.what.host, now.size(), may_be_elsewhere(one.what), keep))
        one.frames = std::move(now);
    }
    TETHER_CATCH(std::exception const&) {}
  }

  static result<void> compare(entry const& one, page_frames<Kernel> const& frames,
                              audit_report& report) {
    const std::uint64_t page = Kernel::page_size();
    bool fits_in_memory = true;
    const auto check = [&](std::uint64_t at, page_frame now) noexcept {
      page_frame const before = (*one.frames)[at];
      if (now.present() && now.number() == 0) report.by_frame_number = false;
      const bool same = now.present() && before.present() && now.number() == before.number();
      if (same) return;
      const staleness how = now.present() ? staleness::replaced : staleness::absent;
      const io_address first = one.what.where.first + at * page;
      TETHER_TRY {
        add(report.stale,
            {{first, first + (page - 1)}, one.what.host + at * page, how, one.what.where});
      }
      TETHER_CATCH(std::exception const&) { fits_in_memory = false; }
    };
    if (auto done =
            frames.look(one.what.host, one.frames->size(), may_be_elsewhere(one.what), check);
        !done)
      return done;
    if (!fits_in_memory) return failure(error::out_of_memory("audit"));
    return {};
  }
  /// Merges adjacent pages that are stale in the same way.
  static void add(std::vector<stale_extent>& all, stale_extent const& page) {
    if (!all.empty()) {
      stale_extent& last = all.back();
      if (last.mapped_as == page.mapped_as && last.how == page.how &&
          last.where.meets(page.where)) {
        last.where.last = page.where.last;
        return;
      }
    }
    all.push_back(page);
  }

  /// A file's page can be in the page cache without a PTE in this process; absent private memory is
  /// gone.
  static bool may_be_elsewhere(mapping const& what) noexcept { return !is_private(what.memory); }
  static std::uint64_t pages_of(mapping const& what) noexcept {
    return what.where.size() / Kernel::page_size();
  }

  std::map<std::uint64_t, entry> recorded_;  // by first I/O address
  bool complete_ = true;
  bool pinning_ = false;
  [[no_unique_address]] Next next_{};
};

/// Used as `tether::container<vfio_type1, inhibit_per_group, tether::audited>`.
using audited = basic_audited<>;
/// The same, beside an observer of the user's. It is judged here, before a container looks at it.
template <observation Next>
using audited_beside = basic_audited<typename detail::observer_beside<Next>::type>;

}  // namespace tether
