// SPDX-License-Identifier: BSL-1.0
// All calls of a container to its backend and to KVM in one list, in which any call can be made to
// fail.
//
//     container --> recording --> journal --> call_list <-- KVM        the n-th call of an operation fails, or gets stuck
//                       |                                    |
//                     iommu ---------> kernel_facts <--------+         what is joined, open, bound, told and mapped
#pragma once

#include <support/lockstep_backend.hpp>

#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/slots.hpp>
#include <tether/testing/journal.hpp>
#include <tether/topology/memory_backing.hpp>

#include <cerrno>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <utility>
#include <vector>

namespace tether_test::lockstep {

/// What was called, of the backend, of KVM or of memory: a `backend_call` by its number, KVM's two
/// calls, and populate.
enum class asked : std::uint8_t {
  map,
  unmap,
  join,
  leave,
  open,
  close,
  quiesce,
  abandon,
  acquire,
  bind,
  tell,
  forget,
  populate
};
static_assert(static_cast<std::uint8_t>(tether::backend_call::bind) ==
              static_cast<std::uint8_t>(asked::bind));

struct call {
  asked what{};
  std::uint64_t first = 0;  ///< of map and unmap
  std::uint64_t last = 0;
  std::string subject{};
  tether::call_outcome ended{};
};
[[nodiscard]] inline std::string sentence(call const& one) {
  if (one.what < asked::tell) {
    tether::journal_entry entry{
        static_cast<tether::backend_call>(one.what), {}, one.subject, one.ended};
    if (one.what <= asked::unmap)
      entry.where = {tether::io_address{one.first}, tether::io_address{one.last}};
    return tether::sentence(entry);
  }
  const bool failed = one.ended == tether::call_outcome::failed;
  const char* const how = failed                                     ? ": failed"
                          : one.ended == tether::call_outcome::stuck ? ": stuck"
                                                                     : "";
  const char* const what = one.what == asked::tell     ? "tell KVM of '"
                           : one.what == asked::forget ? "KVM forgets '"
                                                       : "populate '";
  return what + one.subject + "'" + how;
}

/// How a call fails. A fault is a number in the operation, counted from 1, and how the call of that
/// number fails.
enum class trouble : std::uint8_t { fails, gets_stuck };
struct fault {
  std::uint32_t at = 0;
  trouble how = trouble::fails;
};
[[nodiscard]] inline tether::error injected() { return {"injected", tether::errc::memory_gone}; }

/// All calls on behalf of one container, in order, and the faults. A call that gets stuck has taken
/// effect if that lets a device reach more, and has not if it takes something from the device: the
/// worst that it can leave behind, as in the proof's world.
class call_list {
 public:
  call_list() {
    journal.after_each([this](tether::journal_entry const& entry) {
      call one{
          .what = static_cast<asked>(entry.what), .subject = entry.subject, .ended = entry.ended};
      if (entry.where) one.first = entry.where->first.value, one.last = entry.where->last.value;
      add(std::move(one));
    });
  }
  call_list(call_list const&) = delete;
  call_list& operator=(call_list const&) = delete;

  /// A new operation begins, with these faults.
  void begin(std::span<fault const> faults) {
    calls.clear();
    journal.clear();
    faults_.assign(faults.begin(), faults.end());
    met = 0;
    arm();
  }
  /// The operation is over: faults that have not happened by now will not.
  void end() {
    disarm();
    faults_.clear();
  }

  // KVM asks how the call that it has just got is to end, and reports how it ended.
  [[nodiscard]] fault const* next() const noexcept { return armed_; }
  void add(call one) {
    calls.push_back(std::move(one));
    if (armed_ != nullptr) {
      ++met;
      disarm();
    }
    arm();
  }

  tether::journal journal;
  kernel_facts kernel;
  std::vector<call> calls;
  std::uint32_t met = 0;  ///< faults that have happened

 private:
  void arm() {
    for (fault const& one : faults_) {
      if (one.at == calls.size() + 1) armed_ = &one;
    }
    if (armed_ == nullptr) return;
    if (armed_->how == trouble::fails) return journal.fail_at(1, injected());
    kernel.next_handle_is_lost = true;
    using enum tether::backend_call;
    for (const auto what : {map, join, open, acquire, bind})
      journal.fail_after(what, 1, injected());
    for (const auto what : {unmap, leave, close, quiesce, abandon})
      journal.fail_at(what, 1, injected().with_failed_rollback());
  }
  void disarm() noexcept {
    if (armed_ != nullptr) journal.clear_faults();
    armed_ = nullptr;
    kernel.next_handle_is_lost = false;
  }

  std::vector<fault> faults_;
  fault const* armed_ = nullptr;
};

/// Linux, except that a populate is only recorded: millions of times, there is nothing to fault in.
struct listening_memory : tether::linux_kernel {
  /// The list of the container on whose behalf memory is populated now, if any.
  static inline call_list* list = nullptr;
  static constexpr const char* name = "low";

  [[nodiscard]] static answer madvise(std::uint64_t host, std::uint64_t size, int advice) noexcept {
    if (advice == MADV_UNMERGEABLE) return 0;
    if (advice != tether::detail::populate_write) return linux_kernel::madvise(host, size, advice);
    if (list == nullptr) return 0;
    const bool fails = list->next() != nullptr;
    list->add({.what = asked::populate,
               .subject = name,
               .ended = fails ? tether::call_outcome::failed : tether::call_outcome::done});
    return fails ? -EFAULT : 0;  // populate turns this into `injected`
  }
};

/// A KVM that remembers what it was told.
template <tether::attach_unit Unit>
struct listening_kvm {
  using slot = tether::kvm_slot;
  static constexpr bool tells = true;
  call_list* list;

  tether::result<void> add(int, std::string_view name) noexcept {
    return hear(asked::tell, name, true);
  }
  tether::result<void> remove(int, std::string_view name) noexcept {
    return hear(asked::forget, name, false);
  }

 private:
  tether::result<void> hear(asked what, std::string_view name, bool knows) noexcept {
    group_facts& group = list->kernel.all[group_digit(name)];
    bool& told = Unit == tether::attach_unit::group ? group.told : group.of[last_digit(name)].told;
    fault const* const trouble_ahead = list->next();
    const bool stuck = trouble_ahead != nullptr && trouble_ahead->how == trouble::gets_stuck;
    call one{.what = what, .subject = std::string{name}, .ended = tether::call_outcome::done};
    tether::result<void> answer{};
    if (stuck) answer = tether::failure(injected().with_failed_rollback());
    else if (trouble_ahead != nullptr) answer = tether::failure(injected());
    if (answer && told == knows) {
      answer = tether::failure(tether::error::from_errno("tell KVM", knows ? EEXIST : ENOENT));
    } else if (answer || (stuck && knows)) {
      told = knows;
    }
    if (!answer) one.ended = stuck ? tether::call_outcome::stuck : tether::call_outcome::failed;
    list->add(std::move(one));
    return answer;
  }
};

}  // namespace tether_test::lockstep
