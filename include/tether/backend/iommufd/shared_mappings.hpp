// SPDX-License-Identifier: BSL-1.0
// What the containers of one context have mapped where, by host address (HVA), so that a second
// container shares the pages that a first one has pinned instead of pinning them again. Its lock is
// the innermost of all and never held across a system call, so sharing takes two steps:
//
//     find a source .... COPY, without the lock .... still there? -> the copy is published, too
//                                                    gone meanwhile? -> the copy is rolled back
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>

#include <algorithm>
#include <compare>
#include <cstdint>
#include <exception>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>

namespace tether::detail {

/// Thread-safe. A record belongs to one container; only that one publishes,
/// unpublishes and erases it.
class shared_mappings {
  /// Where in the host, then of which container, then where in that: so a container that maps one
  /// page at many addresses passes its own records, and those of one that pins nothing, at once.
  struct key {
    std::uint64_t host;
    std::uint32_t ioas;
    std::uint64_t first = 0;
    friend constexpr auto operator<=>(key const&, key const&) noexcept = default;
  };
  struct record {
    std::uint32_t ioas;
    extent<io_address> where;
    access rights;
    memory_kind memory;
    bool by_file;
    std::uint64_t generation;  // a new number each time it is published; 0: not published
  };

 public:
  using place = std::multimap<key, record>::iterator;

  /// A mapping of another container that may be shared.
  struct source {
    std::uint32_t ioas;
    io_address first;
    std::uint64_t generation;
  };

  /// Records what is about to be mapped, so that nothing can fail once it is. Not shared yet.
  /// Fails: not enough memory.
  [[nodiscard]] result<place> prepare(std::uint32_t ioas, mapping const& what,
                                      bool by_file) noexcept {
    TETHER_TRY {
      const std::lock_guard lock{mutex_};
      return records_.emplace(key{what.host.value, ioas, what.where.first.value},
                              record{ioas, what.where, what.rights, what.memory, by_file, 0});
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("map").at(what.where));
    }
  }
  /// Publishes it once it is mapped, by its file or its address: from now on others may share it.
  void publish(place which, bool by_file) noexcept {
    const std::lock_guard lock{mutex_};
    which->second.by_file = by_file;
    which->second.generation = ++last_generation_;
  }
  /// Publishes it again after a failed unmap, under a new generation number, so that a container
  /// that copied it meanwhile rolls its copy back.
  void republish(place which) noexcept {
    const std::lock_guard lock{mutex_};
    which->second.generation = ++last_generation_;
  }
  /// Publishes a copy of `from`, if that has stayed published throughout. Otherwise returns false.
  [[nodiscard]] bool publish_copy(place which, source const& from) noexcept {
    const std::lock_guard lock{mutex_};
    const auto [begin, end] =
        records_.equal_range(key{which->first.host, from.ioas, from.first.value});
    if (std::none_of(begin, end,
                     [&](auto const& one) { return one.second.generation == from.generation; }))
      return false;
    which->second.generation = ++last_generation_;
    return true;
  }
  /// Unpublishes it before its unmap: a container that copied it meanwhile finds it gone, and rolls
  /// its copy back.
  void unpublish(place which) noexcept {
    const std::lock_guard lock{mutex_};
    which->second.generation = 0;
  }
  /// Removes a record: it is unmapped, or was never mapped.
  void erase(place which) noexcept {
    const std::lock_guard lock{mutex_};
    records_.erase(which);
  }
  /// Sets whether a device behind an IOMMU has joined a container: only then are its mappings
  /// pinned, and worth sharing.
  void set_pinned(std::uint32_t ioas, bool pinned) noexcept {
    TETHER_TRY {
      const std::lock_guard lock{mutex_};
      pinned_.erase(ioas);
      if (pinned) pinned_.insert(ioas);
    }
    TETHER_CATCH(std::exception const&) {
      // Then it is never shared.
    }
  }

  /// The same memory, pinned by another container with at least these rights. `by_file`: only if
  /// that mapped it by its file. Cost: log N for each container that has mapped it, and each record
  /// of one that pins, but with other rights or another length.
  [[nodiscard]] std::optional<source> find(std::uint32_t into, mapping const& what,
                                           bool by_file) const noexcept {
    const std::lock_guard lock{mutex_};
    for (auto at = records_.lower_bound({what.host.value, 0});
         at != records_.end() && at->first.host == what.host.value;) {
      record const& one = at->second;
      if (one.ioas == into || !pinned_.contains(one.ioas)) {
        at = records_.upper_bound(last_of(what.host.value, one.ioas));  // none of its will do
        continue;
      }
      if (one.generation != 0 &&
          one.where.last - one.where.first == what.where.last - what.where.first &&
          allows(one.rights, what.rights) && one.memory == what.memory && (one.by_file || !by_file))
        return source{one.ioas, one.where.first, one.generation};
      ++at;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::size_t size() const noexcept {
    const std::lock_guard lock{mutex_};
    return records_.size();
  }

 private:
  static constexpr key last_of(std::uint64_t host, std::uint32_t ioas) noexcept {
    return {host, ioas, std::numeric_limits<std::uint64_t>::max()};
  }

  mutable std::mutex mutex_;
  std::multimap<key, record> records_;
  std::set<std::uint32_t> pinned_;
  std::uint64_t last_generation_ = 0;
};

}  // namespace tether::detail
