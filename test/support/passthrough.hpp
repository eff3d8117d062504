// SPDX-License-Identifier: BSL-1.0
// A small guest with a recorded container, for scenarios of attach and detach: a hostile balloon
// strikes before and after every backend call, and the whole observable state is one value to
// compare before and after.
#pragma once

#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/hostile_balloon.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>
#include <support/process_facts.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tether_test {

/// The backends that the scenarios run on. `make` fails where this machine forbids one.
struct on_software {
  using backend_type = tether::software_iommu;
  static constexpr const char* name = "software_iommu";
  static tether::result<backend_type> make() {
    return tether::software_iommu{{.page_sizes = {4 * tether::KiB | 64 * tether::KiB}}};
  }
  static std::uint64_t pinned(backend_type const&) { return 0; }
};
struct on_io_uring {
  using backend_type = tether::io_uring_buffers;
  static constexpr const char* name = "io_uring_buffers";
  static tether::result<backend_type> make() {
    return tether::io_uring_buffers::open({.slots = 512});
  }
  static std::uint64_t pinned(backend_type const& backend) { return backend.pinned_bytes(); }
};

/// Linux 6.1 unpins a fixed buffer's pages about a second after it was told to. Sweeps that do it a
/// thousand times check this, and walk fewer paths there; nothing else depends on it. Measured
/// once.
[[nodiscard]] inline bool unpins_slowly() {
  static const bool slowly = [] {
    auto ring = tether::io_uring_buffers::open({.slots = 4});
    if (!ring) return false;
    const host_memory memory{4 * tether::KiB};
    auto group = ring->join(tether::endpoint_group{"probe", {{"probe", tether::pin_class::pins}}});
    if (!group || !ring->map(memory.at(0, 0, 4 * tether::KiB))) return false;
    const auto begin = std::chrono::steady_clock::now();
    static_cast<void>(
        ring->unmap({tether::io_address{0}, tether::io_address{4 * tether::KiB - 1}}));
    const bool slow = std::chrono::steady_clock::now() - begin > std::chrono::milliseconds{200};
    static_cast<void>(ring->leave(*group));
    return slow;
  }();
  return slowly;
}

/// Groups of one device each, but for the last.
inline tether::endpoint_group pinning_group(const char* name = "nics") {
  return {name, {{"nic", tether::pin_class::pins}}};
}
inline tether::endpoint_group mediated_group(const char* name = "vgpus") {
  return {
      name,
      {{"vgpu", tether::pin_class::pins_on_demand}, {"vgpu2", tether::pin_class::pins_on_demand}}};
}

/// Blocks that a test leaves pinned for good: destroying them would say so, once in the whole
/// program, and keep them all the same. Reachable, so no leak.
inline std::vector<std::unique_ptr<tether::ram_block>>& kept_blocks() {
  static auto& all = *new std::vector<std::unique_ptr<tether::ram_block>>;
  return all;
}

/// Everything that must be unchanged after a failure.
struct seen_state {
  tether::gate_counts counts{};
  std::vector<std::string> holders{};
  tether::container_counts membership{};
  tether::mapped_usage usage{};
  std::uint64_t free_mappings = 0;
  std::uint64_t pinned = 0;
  std::uint64_t pinned_by_kernel = 0;
  std::uint64_t trimmed = 0;
  std::size_t left_out = 0;
  bool diverged = false;
  std::map<int, std::string> descriptors{};
  std::uint64_t contents = 0;
  std::uint64_t references = 0;
  std::vector<std::string> view{};

  friend bool operator==(seen_state const&, seen_state const&) = default;

  [[nodiscard]] std::uint32_t holds() const noexcept {
    return counts.any_holds + counts.uncoordinated_holds;
  }
  [[nodiscard]] std::string text() const {
    std::string all = "holds " + std::to_string(counts.any_holds) + "/" +
                      std::to_string(counts.uncoordinated_holds) + " [";
    for (auto const& one : holders) all += one + " ";
    all += "] members " + std::to_string(membership.members) + "/" +
           std::to_string(membership.need_no_hold) + " mapped " + std::to_string(usage.mappings) +
           "/" + std::to_string(usage.bytes) + " free " + std::to_string(free_mappings) +
           " pinned " + std::to_string(pinned) + "/" + std::to_string(pinned_by_kernel) +
           " left out " + std::to_string(left_out) + " trimmed " + std::to_string(trimmed) +
           (diverged ? " diverged" : "") + " fds " + std::to_string(descriptors.size()) +
           " contents " + std::to_string(contents) + " references " + std::to_string(references) +
           " view";
    for (auto const& one : view) all += " " + one;
    return all;
  }
};

inline std::string drawn(tether::section const& one) {
  std::array<char, 96> text{};
  std::snprintf(text.data(), text.size(), "%.*s[%llx,%llx]%s", static_cast<int>(one.name.size()),
                one.name.data(), static_cast<unsigned long long>(one.where.first.value),
                static_cast<unsigned long long>(one.where.last.value), one.read_only ? "r" : "");
  return text.data();
}

/// A guest: 192 KiB of RAM at 0 with an overlay of registers, 64 KiB of ROM at 256 KiB, 128 KiB of
/// shared RAM at 1 MiB. `spare` is for what a test places later.
template <class Model, class... Policies>
class passthrough {
 public:
  using backend_type = tether::recording<typename Model::backend_type>;
  using container_type = tether::container<backend_type, Policies...>;
  static constexpr bool pins = Model::backend_type::pins;

  explicit passthrough(typename Model::backend_type backend) { build(std::move(backend)); }
  passthrough(passthrough const&) = delete;
  passthrough& operator=(passthrough const&) = delete;
  ~passthrough() {
    book.before_each({});
    book.after_each({});
    dma.reset();
    space_.reset();
    for (auto* block : {&low, &rom, &high, &spare}) {
      if ((*block)->backing().references() != 0) kept_blocks().push_back(std::move(*block));
    }
  }

  /// Writes a pattern to every byte. Ensures: every page is present.
  void fill() {
    for (tether::ram_block* one : blocks())
      std::memcpy(one->data(), pattern().data() + one->size() % 7919, one->size());
  }
  [[nodiscard]] std::array<tether::ram_block*, 4> blocks() const {
    return {low.get(), rom.get(), high.get(), spare.get()};
  }

  /// A balloon that discards everything whenever it is permitted, after which the guest writes it
  /// all again: contents stay, frames do not. Where something is pinned meanwhile, device and CPU
  /// see different pages.
  void strike() {
    const auto let_in = [this] {
      strikes += 1;
      if (Model::pinned(dma->backend().watched()) != 0) stale_strikes += 1;
    };
    tether_test::strike(gate, blocks(), let_in, [this] { fill(); });
  }

  [[nodiscard]] seen_state state() {
    seen_state now;
    now.counts = gate.counts();
    gate.for_each_holder([&](tether::holder_info const& who) {
      now.holders.push_back(std::string{who.name} + ":" + tether::name_of(who.what) + ":" +
                            std::to_string(who.count));
    });
    std::ranges::sort(now.holders);
    now.membership = dma->membership();
    now.usage = dma->usage();
    now.free_mappings = dma->backend().free_mappings();
    now.pinned = Model::pinned(dma->backend().watched());
    now.pinned_by_kernel = pinned_by_the_kernel();
    now.trimmed = dma->trimmed_bytes();
    now.left_out = dma->left_out().size();
    now.diverged = dma->diverged();
    now.descriptors = descriptors();
    for (tether::ram_block const* one : blocks()) {
      now.references += one->backing().references();
      const std::string_view bytes{reinterpret_cast<char const*>(one->data()), one->size()};
      now.contents = now.contents * 31 + std::hash<std::string_view>{}(bytes);
    }
    for (auto const& one : *guest.view()) now.view.push_back(drawn(one));
    return now;
  }

  /// The blocks that may still be mapped, judged by the calls to the backend and their results.
  /// Requires: the journal is complete.
  [[nodiscard]] std::vector<tether::ram_block*> perhaps_mapped() const {
    using tether::backend_call;
    std::map<std::uint64_t, std::uint64_t> extents;
    for (auto const& entry : book.entries()) {
      const bool may_have_happened =
          entry.ended == tether::call_outcome::done || entry.ended == tether::call_outcome::stuck;
      if (entry.what == backend_call::map && may_have_happened)
        extents[entry.where->first.value] = entry.where->last.value;
      if (entry.what == backend_call::unmap && entry.ended == tether::call_outcome::done) {
        std::erase_if(extents, [&](auto const& one) {
          return one.first >= entry.where->first.value && one.second <= entry.where->last.value;
        });
      }
    }
    std::vector<tether::ram_block*> found;
    for (auto const& [first, last] : extents) {
      found.push_back(first < 0x40000           ? low.get()
                      : first < tether::MiB     ? rom.get()
                      : first < 2 * tether::MiB ? high.get()
                                                : spare.get());
    }
    return found;
  }

  /// How many bytes of guest RAM and ROM differ between a device and the CPU, read through an open
  /// device.
  template <class Device>
  [[nodiscard]] std::uint64_t disagreements(Device& device) const {
    std::uint64_t wrong = 0;
    const auto view = guest.view();
    for (auto const& one : *view) {
      if (one.memory == nullptr || one.memory->kind() == tether::memory_kind::device) continue;
      std::vector<std::byte> bytes(one.where.size());
      if (!device.dma_read(tether::io_address{one.where.first.value}, bytes))
        return one.where.size();
      const std::byte* const cpu = one.memory->data() + one.offset.value;
      if (std::memcmp(bytes.data(), cpu, bytes.size()) == 0) continue;
      for (std::uint64_t i = 0; i < bytes.size(); ++i) wrong += bytes[i] != cpu[i] ? 1U : 0U;
    }
    return wrong;
  }

  std::unique_ptr<tether::ram_block> low =
      block("low", 192 * tether::KiB, tether::memory_kind::private_anonymous);
  std::unique_ptr<tether::ram_block> rom =
      block("rom", 64 * tether::KiB, tether::memory_kind::private_anonymous);
  std::unique_ptr<tether::ram_block> high =
      block("high", 128 * tether::KiB, tether::memory_kind::shared);
  std::unique_ptr<tether::ram_block> spare =
      block("spare", 128 * tether::KiB, tether::memory_kind::private_anonymous);

 private:
  std::unique_ptr<tether::address_space> space_ = std::make_unique<tether::address_space>();

 public:
  tether::address_space& guest = *space_;
  tether::discard_gate<> gate;
  tether::journal book;
  std::optional<container_type> dma;
  tether::region_id registers{};
  tether::region_id low_region{};
  tether::region_id rom_region{};
  tether::region_id high_region{};
  std::uint64_t strikes = 0;
  /// Permits that were granted while something was pinned. Must stay 0.
  std::uint64_t stale_strikes = 0;

 private:
  static std::unique_ptr<tether::ram_block> block(const char* name, std::uint64_t size,
                                                  tether::memory_kind kind) {
    return std::make_unique<tether::ram_block>(must(tether::ram_block::allocate(name, size, kind)));
  }
  void build(typename Model::backend_type backend) {
    fill();
    low_region = must(guest.place(tether::region::ram(*low), tether::guest_address{0}));
    registers = must(
        guest.place(tether::region::mmio("registers", 4096), tether::guest_address{0x8000}, 1));
    rom_region = must(guest.place(tether::region::rom(*rom), tether::guest_address{0x40000}));
    high_region =
        must(guest.place(tether::region::ram(*high), tether::guest_address{1 * tether::MiB}));
    dma.emplace(guest, gate, backend_type{book, std::move(backend)});
    if constexpr (pins) {
      book.before_each([this](tether::journal_entry const&) { strike(); });
      book.after_each([this](tether::journal_entry const&) { strike(); });
    }
  }
  static std::vector<std::byte> const& pattern() {
    static const std::vector<std::byte> bytes = [] {
      std::vector<std::byte> all(512 * tether::KiB);
      for (std::size_t at = 0; at < all.size(); ++at)
        all[at] = static_cast<std::byte>((at / 97 + at + 1) & 0xff);
      return all;
    }();
    return bytes;
  }
};

}  // namespace tether_test
