// SPDX-License-Identifier: BSL-1.0
// An I/O address space (IOAS) of iommufd: what is mapped in it, and which pages it shares with
// other containers. The kernel's unmap is not atomic, and its ENOENT means both "nothing is there"
// and "that would cut a mapping", so nothing is inferred from it: mappings are kept in a table of
// our own, and only whole ones are unmapped.
#pragma once

#include <tether/backend/detail/iova_table.hpp>
#include <tether/backend/detail/mapping_checks.hpp>
#include <tether/backend/iommufd/context.hpp>
#include <tether/backend/iommufd/ioas_limits.hpp>
#include <tether/backend/iommufd/shared_mappings.hpp>
#include <tether/backend/iommufd/uapi.hpp>
#include <tether/core/detail/locked_memory.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

namespace tether::detail {

/// Not thread-safe: the container's lock guards it. Its destructor erases only its records in the
/// context's `shared_mappings`; the owner calls `destroy`, which frees the kernel's object.
template <class Kernel>
class iommufd_ioas {
 public:
  /// Fails: may throw `std::bad_alloc`.
  explicit iommufd_ioas(basic_iommufd_context<Kernel> context, bool huge_pages)
      : context_{std::move(context)}, huge_pages_{huge_pages} {}
  iommufd_ioas(iommufd_ioas const&) = delete;
  iommufd_ioas& operator=(iommufd_ioas const&) = delete;
  ~iommufd_ioas() {
    if (!is_inherited()) erase_rows(table_.all());
  }
  /// Whether this process has it from its parent, by a fork.
  [[nodiscard]] bool is_inherited() const noexcept { return made_by_.is_inherited(); }

  /// Its id, 0 until it is allocated.
  [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
  [[nodiscard]] basic_iommufd_context<Kernel> const& context() const noexcept { return context_; }
  [[nodiscard]] std::size_t mappings() const noexcept { return table_.size(); }
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return limits_.page_sizes(); }
  [[nodiscard]] std::span<extent<io_address> const> usable() const noexcept {
    return limits_.usable();
  }

  /// Allocates it if it is not there. Fails, leaving nothing behind: `bad_descriptor`, the kernel's
  /// errno.
  [[nodiscard]] result<void> allocate() noexcept {
    if (id_ != 0) [[likely]]
      return {};
    iommufd_uapi::new_ioas made{};
    if (const auto answer = call(iommufd_uapi::allocate_ioas, made); answer < 0) {
      if (answer == -ENOTTY)
        return failure(
            error{"allocate address space", errc::bad_descriptor}.advise("it is not an iommufd"));
      return failure(error::from_errno("allocate address space", static_cast<int>(-answer)));
    }
    id_ = made.ioas;
    auto ready = huge_pages_ ? result<void>{} : turn_off_huge_pages();
    if (ready) ready = read_limits();
    if (ready) return {};
    return failure(destroy("allocate address space") ? ready.error()
                                                     : ready.error().with_failed_rollback());
  }
  /// Ensures: nothing is mapped any more, and its id is 0. Fails: `still_in_use` while a device or
  /// page table refers to it.
  [[nodiscard]] result<void> destroy(const char* operation) noexcept {
    if (id_ == 0) return {};
    iommufd_uapi::object gone{.id = id_};
    if (const auto answer = call(iommufd_uapi::destroy, gone); answer < 0) {
      const error why = answer == -EBUSY ? error{operation, errc::still_in_use}
                                         : error::from_errno(operation, static_cast<int>(-answer));
      return failure(why.of("address space").advise("something still refers to it"));
    }
    shared().set_pinned(id_, false);
    id_ = 0;
    erase_rows(table_.all());
    limits_.reset();
    return {};
  }

  /// Requires: `from.descriptor` is negative if the memory is of no shared file. Fails, leaving
  /// nothing behind: as `basic_iommufd::map`; stuck if a copy could not be rolled back: it stays
  /// recorded then.
  [[nodiscard]] result<void> map(mapping const& what, file_source from) noexcept {
    if (auto shaped = check_shape(what, page_sizes().smallest()); !shaped) [[unlikely]]
      return shaped;
    if (auto there = allocate(); !there) [[unlikely]]
      return there;
    const bool by_file =
        from.descriptor >= 0 && what.memory == memory_kind::shared && context_.maps_files();
    const auto mine = shared().prepare(id_, what, by_file);
    if (!mine) [[unlikely]]
      return failure(mine.error());
    const auto row = table_.insert(what, *mine);
    if (!row) [[unlikely]] {
      shared().erase(*mine);
      return failure(row.error());
    }
    const auto shared = share(what, by_file, *mine);
    const auto done = !shared   ? result<void>{failure(shared.error())}
                      : *shared ? result<void>{}
                                : pin(what, by_file, from, *mine);
    if (!done && !done.error().rollback_failed()) [[unlikely]]
      erase_rows(table_.only(*row));
    return done;
  }

  /// Requires: `where` is whole mappings without a gap, or everything. Fails before any system
  /// call: `invalid_extent`, `cuts_a_mapping`, `not_mapped`. Fails in the kernel: its errno, stuck
  /// unless it was one mapping: of several, some may be gone; `byte_count_mismatch`, stuck.
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    const bool all = where.is_everything();
    if (all && id_ == 0) return {};
    const auto run = all ? result<table_run>{table_.all()} : table_.whole(where);
    if (!run) [[unlikely]]
      return failure(run.error());
    iommufd_uapi::unmapping request{.ioas = id_, .iova = where.first.value};
    request.length = all ? std::numeric_limits<std::uint64_t>::max() : where.size();
    std::uint64_t bytes = 0;  // everything may be 2^64, which wraps to 0 in the kernel as well
    for (std::size_t row = run->from; row != run->to; row = table_.next(row)) {
      shared().unpublish(table_.payload(row));
      bytes += table_.where(row).size();
    }
    const auto answer = call(iommufd_uapi::unmap, request);
    if (answer < 0) [[unlikely]]
      return failure(why_not_unmapped(where, *run, static_cast<int>(-answer)));
    if (request.length != bytes) [[unlikely]] {
      const error why{"unmap", errc::byte_count_mismatch};
      return failure(why.at(where)
                         .advise("the kernel unmapped {} byte{|s}", request.length)
                         .with_failed_rollback());
    }
    erase_rows(*run);
    return {};
  }

  /// `why` a device that pins could not be attached, by what its errno stands for here. `pinned`:
  /// another one had pinned all of this already.
  [[nodiscard, gnu::cold]] error why_not_joined(error const& why, bool pinned) const noexcept {
    if (why.is_errno(ENOMEM) && !pinned)
      return advise_on_locked_memory<Kernel>(why, context_.charges(), 0);
    if (!why.is(errc::memory_gone)) return why;
    for (std::size_t row = table_.all().from; row != table_.all().to; row = table_.next(row)) {
      if (look_at_host<Kernel>(table_[row]) != host_memory_is::there)
        return why_not_pinned<Kernel>(why.operation(), table_[row]).of(why.subject());
    }
    return why;
  }
  /// Reads what can be mapped now. Fails: as `ioas_limits::read`.
  [[nodiscard]] result<void> read_limits() noexcept {
    return limits_.read(context_.descriptor(), id_);
  }

 private:
  using place = shared_mappings::place;

  [[nodiscard]] shared_mappings& shared() const noexcept { return context_.shared(); }
  template <class Arguments>
  [[nodiscard]] typename Kernel::answer call(iommufd_uapi::request<Arguments> const& what,
                                             Arguments& with) const noexcept {
    return call_iommufd<Kernel>(context_.descriptor(), what, with);
  }
  static std::uint32_t flags_of(mapping const& what) noexcept {
    return iommufd_uapi::at_this_iova |
           (allows(what.rights, access::read) ? iommufd_uapi::device_may_read : 0U) |
           (allows(what.rights, access::write) ? iommufd_uapi::device_may_write : 0U);
  }

  /// Tries to map it by sharing what another container has pinned. False, for whatever reason: the
  /// caller must pin it.
  result<bool> share(mapping const& what, bool by_file, place mine) noexcept {
    const auto from = shared().find(id_, what, by_file);
    if (!from) [[likely]]
      return false;
    iommufd_uapi::shared_mapping request{.flags = flags_of(what),
                                         .to_ioas = id_,
                                         .from_ioas = from->ioas,
                                         .length = what.where.size()};
    request.to_iova = what.where.first.value;
    request.from_iova = from->first.value;
    if (call(iommufd_uapi::copy, request) < 0) return false;
    if (shared().publish_copy(mine, *from)) return true;
    // The source was unmapped meanwhile, so this may be other memory.
    iommufd_uapi::unmapping undo{
        .ioas = id_, .iova = what.where.first.value, .length = what.where.size()};
    if (call(iommufd_uapi::unmap, undo) >= 0) return false;
    return failure(error{"map", errc::still_in_use}.at(what.where).with_failed_rollback());
  }
  /// Maps it by its file if `by_file` and the kernel can, otherwise by its address.
  result<void> pin(mapping const& what, bool by_file, file_source from, place mine) noexcept {
    if (by_file) {
      iommufd_uapi::file_mapping request{
          .flags = flags_of(what), .ioas = id_, .file = from.descriptor, .offset = from.offset};
      request.length = what.where.size();
      request.iova = what.where.first.value;
      const auto answer = call(iommufd_uapi::map_file, request);
      if (answer == -ENOTTY) context_.found_that_it_maps_no_files();
      if (answer >= 0) {
        shared().publish(mine, true);
        return {};
      }
      // Memory of a file that the kernel refuses can still be mapped by address; and EINVAL has
      // many causes: mapping by address tells which.
      if (answer != -ENOTTY && answer != -EINVAL && answer != -EBADF)
        return failure(why_not(what, static_cast<int>(-answer)));
    }
    iommufd_uapi::memory_mapping request{
        .flags = flags_of(what), .ioas = id_, .host = what.host.value, .length = what.where.size()};
    request.iova = what.where.first.value;
    const auto answer = call(iommufd_uapi::map, request);
    if (answer < 0) [[unlikely]]
      return failure(why_not(what, static_cast<int>(-answer)));
    shared().publish(mine, false);
    return {};
  }

  [[gnu::cold]] error why_not(mapping const& what, int number) const noexcept {
    if (number == EFAULT && what.memory == memory_kind::device) {
      return error{"map", errc::unsupported}
          .at(what.where)
          .advise("iommufd maps no memory of devices");
    }
    if (number == ENOMEM) {
      return advise_on_locked_memory<Kernel>(error::from_errno("map", number).at(what.where),
                                             context_.charges(), what.where.size());
    }
    return why_not_mapped<Kernel>(what, number, page_sizes().smallest(), usable());
  }
  /// A single mapping is removed or not; of several the first may be gone. ENOENT contradicts our
  /// table, in which the mapping is present and whole.
  [[gnu::cold]] error why_not_unmapped(extent<io_address> where, table_run run,
                                       int number) noexcept {
    const auto why = error::from_errno("unmap", number).at(where);
    const bool several = run.from != run.to && table_.next(run.from) != run.to;
    if (several || number == ENOENT) return why.with_failed_rollback();
    for (std::size_t row = run.from; row != run.to; row = table_.next(row))
      shared().republish(table_.payload(row));
    return number == EDEADLK
               ? why.advise("a mediated device's driver does not let go of what it has pinned")
               : why;
  }

  [[gnu::cold]] result<void> turn_off_huge_pages() noexcept {
    iommufd_uapi::option option{
        .which = iommufd_uapi::huge_pages, .operation = iommufd_uapi::operation_set, .object = id_};
    if (const auto answer = call(iommufd_uapi::set_option, option); answer < 0) {
      return failure(error::from_errno("turn off huge pages", static_cast<int>(-answer)));
    }
    return {};
  }
  void erase_rows(table_run run) noexcept {
    for (std::size_t row = run.from; row != run.to; row = table_.next(row))
      shared().erase(table_.payload(row));
    table_.erase(run);
  }

  basic_iommufd_context<Kernel> context_;
  bool huge_pages_;
  process_mark made_by_;
  std::uint32_t id_ = 0;
  ioas_limits<Kernel> limits_{};
  iova_table<place> table_;
};

}  // namespace tether::detail
