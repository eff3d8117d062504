// SPDX-License-Identifier: BSL-1.0
// The law of the discard gate: while a hold stands, no discard that it forbids is running or can
// start (law 19). Many threads, and a witness that does not trust the gate's counts.
#pragma once

#include <tether/core/stop_token.hpp>
#include <tether/inhibit/discard_gate.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

namespace tether::laws {

/// A page as the kernel sees it: pinned, or being discarded, never both. Its contents are plain
/// memory on purpose: where the gate lets two in at once, the thread sanitizer sees it too.
class page_witness {
 public:
  /// Lasts a while, so that a hold that did not wait for it is seen.
  void discard() noexcept {
    discards_.fetch_add(1);
    bool pinned = false;
    for (int look = 0; look < 200; ++look) pinned |= pins_.load() != 0;
    contents_ = 0;
    if (pinned || pins_.load() != 0) stale_.fetch_add(1);
    discards_.fetch_sub(1);
  }
  void pin() noexcept {
    pins_.fetch_add(1);
    if (discards_.load() != 0) stale_.fetch_add(1);
  }
  void unpin() noexcept {
    if (discards_.load() != 0) stale_.fetch_add(1);
    pins_.fetch_sub(1);
  }
  /// The device reads. Requires: pinned.
  [[nodiscard]] std::uint64_t contents() const noexcept { return contents_; }
  [[nodiscard]] std::uint64_t stale() const noexcept { return stale_.load(); }

 private:
  std::atomic<std::uint64_t> pins_{0};
  std::atomic<std::uint64_t> discards_{0};
  std::atomic<std::uint64_t> stale_{0};
  std::uint64_t contents_ = 0;
};

struct gate_traffic {
  std::uint64_t discards = 0;
  std::uint64_t inhibited = 0;
  std::uint64_t holds = 0;
  std::uint64_t given_up = 0;
  std::uint64_t listings = 0;
};

/// `discarders` threads, each with a page of its own that every hold pins; `holders` threads that
/// take and release holds in every way there is, by name and as an attaching container does, until
/// each has made `rounds`; `readers` threads that list the holders all the time.
template <class Gate>
[[nodiscard]] gate_traffic check_gate_under_threads(Gate& gate, hold_kind kind,
                                                    discard_kind forbidden, int discarders,
                                                    int holders, std::uint64_t rounds,
                                                    int readers = 0) {
  std::vector<std::unique_ptr<page_witness>> pages;
  for (int i = 0; i < discarders; ++i) pages.push_back(std::make_unique<page_witness>());
  std::atomic<bool> finished{false};
  std::atomic<std::uint64_t> discards{0};
  std::atomic<std::uint64_t> inhibited{0};
  std::atomic<std::uint64_t> holds{0};
  std::atomic<std::uint64_t> given_up{0};
  std::atomic<std::uint64_t> read{0};
  std::atomic<std::uint64_t> listings{0};
  std::atomic<std::uint64_t> wrong_listings{0};

  std::vector<std::thread> threads;
  for (int i = 0; i < discarders; ++i) {
    threads.emplace_back([&, i] {
      std::uint64_t done = 0;
      std::uint64_t refused = 0;
      while (!finished.load(std::memory_order_relaxed)) {
        const auto permit = gate.permit(forbidden);
        if (permit) {
          pages[static_cast<std::size_t>(i)]->discard();
          ++done;
        } else {
          ++refused;
        }
      }
      discards += done;
      inhibited += refused;
    });
  }
  for (int i = 0; i < readers; ++i) {
    threads.emplace_back([&] {
      // An attacher may count two, everybody else one.
      const auto most = static_cast<std::uint32_t>(2 * holders);
      std::uint64_t done = 0;
      std::uint64_t wrong = 0;
      while (!finished.load(std::memory_order_relaxed)) {
        std::uint32_t listed = 0;
        bool strange = false;
        gate.for_each_holder([&](holder_info const& who) {
          listed += who.count;
          strange = strange || who.count == 0 || who.count > 2 || who.what != entry_kind_of(kind) ||
                    who.name.empty();
        });
        const gate_counts counts = gate.counts();
        strange = strange || listed > most ||
                  counts.any_holds + counts.uncoordinated_holds > most || counts.suspensions != 0;
        wrong += strange ? 1U : 0U;
        ++done;
        std::this_thread::yield();
      }
      listings += done;
      wrong_listings += wrong;
    });
  }
  std::vector<std::thread> takers;
  for (int i = 0; i < holders; ++i) {
    takers.emplace_back([&, i] {
      std::stop_source never;
      const auto use_pages = [&] {
        for (auto& page : pages) page->pin();
        std::uint64_t sum = 0;
        for (auto& page : pages) sum += page->contents();
        read += sum;
        for (auto& page : pages) page->unpin();
        holds += 1;
      };
      for (std::uint64_t round = 0; round < rounds; ++round) {
        if (round % 5 == 4) {
          // As a container: an entry of its own, raised for a second group, and lowered step by
          // step.
          detail::hold_entry attached{"attacher"};
          if (!gate.raise(attached, kind, 1)) {
            given_up += 1;
            continue;
          }
          const bool second = gate.raise(attached, kind, 1, {.wait = false}).has_value();
          use_pages();
          gate.lower(attached, 1);
          if (second) gate.lower(attached, 1);
          continue;
        }
        auto held =
            round % 4 == 0   ? gate.hold(kind, "holder")
            : round % 4 == 1 ? gate.try_hold(kind, "trier")
            : round % 4 == 2
                ? gate.hold_until(kind, "patient",
                                  std::chrono::steady_clock::now() + std::chrono::microseconds{20})
                : gate.hold(kind, "stoppable", never.get_token());
        if (!held) {
          given_up += 1;
          continue;
        }
        use_pages();
        if ((round + static_cast<std::uint64_t>(i)) % 16 == 0) std::this_thread::yield();
      }
    });
  }
  for (auto& one : takers) one.join();
  finished = true;
  for (auto& one : threads) one.join();
  std::uint64_t stale = 0;
  for (auto& page : pages) stale += page->stale();
  CHECK(stale == 0);
  CHECK(read == 0);
  CHECK(wrong_listings == 0);
  CHECK(gate.counts() == gate_counts{});
  return {discards.load(), inhibited.load(), holds.load(), given_up.load(), listings.load()};
}

}  // namespace tether::laws
