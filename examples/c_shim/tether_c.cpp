// SPDX-License-Identifier: BSL-1.0
// The functions of tether_c.h. Behind a handle is a container of whichever backend was asked for,
// and an address space in which "guest physical" is I/O virtual: what is placed there is what
// devices see, and the container does the rest, all or nothing.
#include "tether_c.h"

#include <tether/tether.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using tether::errc;
using tether::error;
using tether::failure;
using tether::result;
using range = tether::extent<tether::io_address>;

range one_byte(std::uint64_t at) { return {tether::io_address{at}, tether::io_address{at}}; }

/// Whichever kind the kernel says that the memory is: it looks itself.
result<tether::ram_block> borrow(std::uintptr_t memory, std::uint64_t bytes) {
  using tether::memory_kind;
  const auto as = [&](memory_kind kind) {
    return tether::ram_block::borrow("memory", tether::host_address{memory}, bytes, kind);
  };
  auto block = as(memory_kind::private_anonymous);
  for (const memory_kind kind :
       {memory_kind::shared, memory_kind::hugetlb, memory_kind::private_file}) {
    if (block || !block.error().is(errc::wrong_kind)) break;
    block = as(kind);
  }
  return block;
}

/// One mapping.
struct area {
  std::uintptr_t memory;
  range where;
  tether::ram_block block;
  tether::region_id id;
  [[nodiscard]] std::uintptr_t end() const noexcept { return memory + where.size(); }
};

/// Which memory lies where: the same for every backend.
class io_space {
 public:
  virtual ~io_space() = default;
  virtual result<void> attach(std::string const& device) = 0;
  virtual result<void> detach(std::string const& device) = 0;
  virtual result<void> detach_all() = 0;
  [[nodiscard]] virtual std::vector<range> usable() const = 0;
  [[nodiscard]] virtual std::uint64_t page() = 0;

  result<void> map_at(std::uintptr_t memory, std::uint64_t bytes, std::uint64_t at, int rights) {
    const auto where = range::of(tether::io_address{at}, bytes);
    if (!where || memory == 0 || memory > std::numeric_limits<std::uintptr_t>::max() - bytes) {
      return failure(error{"map", errc::invalid_extent}
                         .at(one_byte(at))
                         .advise("give it memory, and a size that fits behind both addresses"));
    }
    if ((rights & TETHER_READ) == 0 || (rights & ~(TETHER_READ | TETHER_WRITE)) != 0) {
      return failure(error{"map", errc::access_denied}.at(*where).advise(
          "the rights are TETHER_READ, or TETHER_READ | TETHER_WRITE"));
    }
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    if (at % page != 0 || memory % page != 0 || bytes % page != 0) {
      return failure(error{"map", errc::not_aligned}.at(*where).advise(
          "both addresses and the size must be multiples of {} bytes", page));
    }
    const auto next = by_memory_.lower_bound(memory);
    if ((next != by_memory_.end() && next->first < memory + bytes) ||
        (next != by_memory_.begin() && std::prev(next)->second->end() > memory)) {
      return failure(error{"map", errc::already_there}.at(*where).advise(
          "some of this memory is mapped: each byte of it has one address"));
    }
    if (auto known = follow_limits(); !known) return known;
    if (auto taken = addresses_->claim(*where); !taken) return taken;
    auto placed = place(memory, *where, rights);
    if (!placed) static_cast<void>(addresses_->release(*where));
    return placed;
  }
  result<std::uint64_t> map(std::uintptr_t memory, std::uint64_t bytes, int rights) {
    if (auto known = follow_limits(); !known) return failure(known.error());
    const auto where = addresses_->allocate(bytes);
    if (!where) return failure(where.error());
    // `map_at` claims it again, and looks at all that it is given
    static_cast<void>(addresses_->release(*where));
    return map_at(memory, bytes, where->first.value, rights).map([&] { return where->first.value; });
  }
  result<void> unmap(std::uint64_t at) {
    const auto found = by_address_.find(at);
    if (found == by_address_.end()) {
      return failure(error{"unmap", errc::not_mapped}
                         .at(one_byte(at))
                         .advise("name the first byte of what was mapped"));
    }
    if (auto gone = space_.remove(found->second->id); !gone) return gone;
    static_cast<void>(addresses_->release(found->second->where));
    by_memory_.erase(found->second->memory);
    by_address_.erase(found);
    return {};
  }
  result<std::uint64_t> translate(std::uintptr_t memory) const {
    const auto next = by_memory_.upper_bound(memory);
    if (next != by_memory_.begin()) {
      area const& one = *std::prev(next)->second;
      if (memory < one.end()) return one.where.first.value + (memory - one.memory);
    }
    return failure(error{"translate", errc::not_mapped}.advise("map that memory first"));
  }

 private:
  result<void> place(std::uintptr_t memory, range where, int rights) {
    auto block = borrow(memory, where.size());
    if (!block) return failure(block.error());
    auto fresh = std::make_unique<area>(area{memory, where, std::move(*block), {}});
    area& made = *fresh;
    const auto named = by_memory_.emplace(memory, &made).first;
    const auto there = by_address_.emplace(where.first.value, std::move(fresh)).first;
    auto placed =
        space_.place(tether::region::ram(made.block).read_only((rights & TETHER_WRITE) == 0),
                     tether::guest_address{where.first.value});
    if (placed) {
      made.id = *placed;
      return {};
    }
    by_memory_.erase(named);
    by_address_.erase(there);
    return failure(placed.error());
  }
  /// Which addresses are usable changes with what is attached.
  result<void> follow_limits() {
    if (!limits_changed_) return {};
    const auto ranges = usable();
    if (addresses_) {
      if (auto done = addresses_->change_limits(ranges, page()); !done) return done;
    } else {
      auto made = tether::iova_allocator::over(ranges, page());
      if (!made) return failure(made.error());
      addresses_.emplace(std::move(*made));
    }
    limits_changed_ = false;
    return {};
  }

  std::optional<tether::iova_allocator> addresses_;
  // Declared before `space_`, so destroyed after it: the space refers to these blocks.
  std::map<std::uintptr_t, area*> by_memory_;
  std::map<std::uint64_t, std::unique_ptr<area>> by_address_;

 protected:
  tether::address_space space_;
  tether::discard_gate<> gate_;
  bool limits_changed_ = true;
};

/// The container: only the alias changes.
template <class Backend>
class over final : public io_space {
  using container = tether::container<Backend, tether::inhibit_per_group, tether::whole_section,
                                      tether::refuse_edges>;

 public:
  explicit over(Backend with) : dma_{space_, gate_, std::move(with)} {}

  result<void> attach(std::string const& device) override {
    const auto [at, fresh] = attached_.try_emplace(device);
    if (!fresh) return failure(error{"attach", errc::already_there}.of(device));
    auto done = dma_.attach(tether::endpoint{device});
    limits_changed_ = true;
    if (done) {
      at->second = *done;
      return {};
    }
    attached_.erase(at);
    return failure(done.error());
  }
  result<void> detach(std::string const& device) override {
    const auto found = attached_.find(device);
    if (found == attached_.end()) {
      return failure(
          error{"detach", errc::no_such_device}.of(device).advise("name it as it was attached"));
    }
    auto gone = found->second->detach();
    limits_changed_ = true;
    if (gone) attached_.erase(found);
    return gone;
  }
  result<void> detach_all() override {
    while (!attached_.empty()) {
      if (auto gone = attached_.begin()->second->detach(); !gone) return gone;
      attached_.erase(attached_.begin());
    }
    return {};
  }
  [[nodiscard]] std::vector<range> usable() const override { return dma_.usable_iova(); }
  [[nodiscard]] std::uint64_t page() override { return dma_.backend().page_sizes().smallest(); }

 private:
  container dma_;
  std::map<std::string, std::optional<tether::attached_device<container>>> attached_;
};

template <class Backend>
result<std::unique_ptr<io_space>> make() {
  auto backend = tether::open_backend<Backend>();
  if (!backend) return failure(backend.error());
  return std::make_unique<over<Backend>>(std::move(*backend));
}
result<std::unique_ptr<io_space>> make(std::string_view backend) {
  if (backend == "software_iommu") return make<tether::software_iommu>();
  if (backend == "io_uring_buffers") return make<tether::io_uring_buffers>();
  if (backend == "vfio_type1") return make<tether::vfio_type1>();
  if (backend == "iommufd") return make<tether::iommufd>();
  return failure(error{"open backend", errc::unsupported}.of(backend).advise(
      "name one of vfio_type1, iommufd, io_uring_buffers, software_iommu"));
}

/// A handle is a number that is never used again, so one that was closed is told from one that is
/// open. One call at a time uses the memory behind it.
struct open_space {
  std::mutex mutex;
  std::unique_ptr<io_space> space;
};
struct table {
  std::mutex mutex;
  std::map<tether_handle, std::shared_ptr<open_space>> open;
  tether_handle last = 0;
};
/// Never destroyed: the end of the process takes back what is open.
table& all() {
  static table& one = *new table;
  return one;
}

/// Room for a sentence that cannot fail for want of memory.
thread_local char last_error[512] = "no call of this thread has failed";

void keep(const char* sentence) noexcept {
  std::snprintf(last_error, sizeof last_error, "%s", sentence);
}
/// What ends every call: no exception passes.
template <class Work>
int guarded(Work work) noexcept {
  try {
    const result<void> done = work();
    if (done) return 0;
    keep(done.error().sentence().c_str());
  } catch (std::exception const& why) {
    keep(why.what());
  } catch (...) {
    keep("an exception of an unknown kind");
  }
  return -1;
}
error no_null(const char* operation) {
  return error::from_errno(operation, EINVAL).advise("a pointer is null");
}

/// Calls `use` with what a handle is of.
template <class Use>
int with(const char* operation, tether_handle handle, Use use) noexcept {
  return guarded([&]() -> result<void> {
    std::shared_ptr<open_space> found;
    {
      const std::lock_guard lock{all().mutex};
      const auto at = all().open.find(handle);
      if (at != all().open.end()) found = at->second;
    }
    const error gone = error{operation, errc::stale_handle}.advise(
        handle == 0 ? "the handle is 0: tether_open has failed"
                    : "no such handle is open: it was closed");
    if (!found) return failure(gone);
    const std::lock_guard lock{found->mutex};
    if (!found->space) return failure(gone);
    return use(*found);
  });
}

}  // namespace

tether_handle tether_open(const char* backend) {
  tether_handle handle = 0;
  guarded([&]() -> result<void> {
    if (backend == nullptr) return failure(no_null("open backend"));
    auto made = make(backend);
    if (!made) return failure(made.error());
    auto fresh = std::make_shared<open_space>();
    fresh->space = std::move(*made);
    const std::lock_guard lock{all().mutex};
    all().open.emplace(all().last + 1, std::move(fresh));
    handle = ++all().last;
    return {};
  });
  return handle;
}

int tether_close(tether_handle iommu) {
  return with("close", iommu, [&](open_space& one) -> result<void> {
    if (auto gone = one.space->detach_all(); !gone) return gone;
    one.space.reset();
    const std::lock_guard lock{all().mutex};
    all().open.erase(iommu);
    return {};
  });
}

int tether_attach(tether_handle iommu, const char* device) {
  return with("attach", iommu, [&](open_space& one) -> result<void> {
    if (device == nullptr) return failure(no_null("attach"));
    return one.space->attach(device);
  });
}

int tether_detach(tether_handle iommu, const char* device) {
  return with("detach", iommu, [&](open_space& one) -> result<void> {
    if (device == nullptr) return failure(no_null("detach"));
    return one.space->detach(device);
  });
}

int tether_map_at(tether_handle iommu, void* memory, size_t bytes, uint64_t at, int rights) {
  return with("map", iommu, [&](open_space& one) {
    return one.space->map_at(reinterpret_cast<std::uintptr_t>(memory), bytes, at, rights);
  });
}

int tether_map(tether_handle iommu, void* memory, size_t bytes, int rights, uint64_t* at) {
  return with("map", iommu, [&](open_space& one) -> result<void> {
    if (at == nullptr) return failure(no_null("map"));
    return one.space->map(reinterpret_cast<std::uintptr_t>(memory), bytes, rights)
        .map([&](std::uint64_t found) { *at = found; });
  });
}

int tether_unmap(tether_handle iommu, uint64_t at) {
  return with("unmap", iommu, [&](open_space& one) { return one.space->unmap(at); });
}

int tether_translate(tether_handle iommu, const void* memory, uint64_t* at) {
  return with("translate", iommu, [&](open_space& one) -> result<void> {
    if (at == nullptr) return failure(no_null("translate"));
    return one.space->translate(reinterpret_cast<std::uintptr_t>(memory))
        .map([&](std::uint64_t found) { *at = found; });
  });
}

int tether_usable_ranges(tether_handle iommu, struct tether_range* into, size_t room,
                         size_t* count) {
  return with("ask for usable ranges", iommu, [&](open_space& one) -> result<void> {
    if (count == nullptr || (into == nullptr && room != 0))
      return failure(no_null("ask for usable ranges"));
    const auto usable = one.space->usable();
    *count = usable.size();
    for (std::size_t i = 0; i != std::min(room, usable.size()); ++i)
      into[i] = {usable[i].first.value, usable[i].last.value};
    return {};
  });
}

const char* tether_last_error(void) { return last_error; }
