// SPDX-License-Identifier: BSL-1.0
// A VMM that has a memory model of its own, a table of numbered slots as KVM's, and wants no
// second one: it feeds a `dma_listener`, which maps and unmaps, all or nothing. Guest address =
// IOVA: what the guest sees at N, a device sees at N.
//
//     set_slot(number, ...) --begin, remove, add, commit--> dma_listener --map, unmap--> backend
//
// A listener alone asks no gate: where the backend pins, hold `discard_gate` while a device is
// attached, or let a `container` do it, as the other examples do. This prints:
//
//     slot 0: 1024 KiB at 0x0, the device sees it
//     slot 1: 512 KiB at 0x40000000, the device sees it
//     slot 1 again, 512 KiB further on: the device sees it there, and not where it was
//     slot 2, over slot 0: refused, and the device sees what it saw
//       add of 'slot 2' at guest physical [0x80000, 0x8ffff]: something is there already
//     slot 1, of nothing: it is gone
//     mapped at the end: 1 mapping, 1024 KiB
#include <tether/tether.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <type_traits>
#include <utility>

namespace {

template <class T>
T must(tether::result<T> answer) {
  if (!answer) {
    std::puts(answer.error().sentence().c_str());
    std::exit(EXIT_FAILURE);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}
void must(bool right, const char* what) {
  if (right) return;
  std::printf("not so: %s\n", what);
  std::exit(EXIT_FAILURE);
}

/// What this VMM knows of a slot, as it always did.
struct slot {
  std::uint64_t guest_address;
  std::uint64_t bytes;
  std::byte* memory;
  bool read_only;
};

/// The table. `Backend`: any of tether's, or one of one's own.
template <class Backend>
class slot_table {
 public:
  explicit slot_table(Backend& iommu) : listener_{iommu, mutex_} {}
  ~slot_table() {
    // Compulsory: to end is not to be refused.
    listener_.begin(tether::commit_kind::compulsory);
    for (auto const& [number, one] : slots_) listener_.remove(section_of(one));
    static_cast<void>(listener_.commit());
  }

  /// Sets a slot: a new one, another place or size for one that is there, or none where `is` has no
  /// bytes. Fails, changing nothing: what the listener says.
  tether::result<void> set(unsigned number, slot is) {
    std::optional<entry> fresh;
    if (is.bytes != 0) {
      auto lent = tether::ram_block::borrow(
          "slot " + std::to_string(number),
          tether::host_address{reinterpret_cast<std::uintptr_t>(is.memory)}, is.bytes,
          tether::memory_kind::private_anonymous);
      if (!lent) return tether::failure(lent.error());
      fresh.emplace(entry{is, std::move(*lent)});
    }
    const auto old = slots_.find(number);
    listener_.begin();
    if (old != slots_.end()) listener_.remove(section_of(old->second));
    if (fresh) listener_.add(section_of(*fresh));
    if (auto followed = listener_.commit(); !followed) return followed;
    if (old != slots_.end()) slots_.erase(old);
    if (fresh) slots_.emplace(number, std::move(*fresh));
    return {};
  }
  [[nodiscard]] tether::mapped_usage usage() const { return listener_.usage(); }

 private:
  /// A slot, and its memory as tether knows it: the VMM's own, lent.
  struct entry {
    slot is;
    tether::ram_block memory;
  };
  static tether::section section_of(entry const& one) {
    return {.where = {tether::guest_address{one.is.guest_address},
                      tether::guest_address{one.is.guest_address + (one.is.bytes - 1)}},
            .memory = &one.memory.backing(),
            .offset = one.memory.first(),
            .read_only = one.is.read_only,
            .name = one.memory.name()};
  }

  std::mutex mutex_;  // around every call into the backend
  std::map<unsigned, entry> slots_;
  tether::dma_listener<Backend> listener_;
};

std::byte* guest_memory(std::uint64_t bytes) {
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(at != MAP_FAILED, "there is memory");
  return static_cast<std::byte*>(at);
}

}  // namespace

int main() {
  using tether::KiB, tether::GiB;
  tether::software_iommu iommu;
  auto group = must(iommu.join(tether::endpoint_group{"nics", {{"eth0"}}}));
  auto eth0 = must(iommu.open(group, "eth0"));
  // Whether the device sees `memory` at a guest address.
  const auto sees = [&](std::uint64_t at, std::byte* memory) {
    *memory = static_cast<std::byte>(~static_cast<unsigned char>(*memory));
    std::array<std::byte, 1> seen{};
    return eth0.dma_read(tether::io_address{at}, seen) && seen[0] == *memory;
  };
  std::byte* const low = guest_memory(1024 * KiB);
  std::byte* const high = guest_memory(512 * KiB);
  {
    slot_table table{iommu};
    must(table.set(0, {0, 1024 * KiB, low, false}));
    must(sees(0, low) && sees(1023 * KiB, low + 1023 * KiB), "slot 0 is mapped");
    std::puts("slot 0: 1024 KiB at 0x0, the device sees it");
    must(table.set(1, {1 * GiB, 512 * KiB, high, false}));
    must(sees(1 * GiB, high), "slot 1 is mapped");
    std::puts("slot 1: 512 KiB at 0x40000000, the device sees it");
    must(table.set(1, {1 * GiB + 512 * KiB, 512 * KiB, high, false}));
    must(sees(1 * GiB + 512 * KiB, high) && !sees(1 * GiB, high), "slot 1 has moved");
    std::puts("slot 1 again, 512 KiB further on: the device sees it there, and not where it was");
    const auto refused = table.set(2, {512 * KiB, 64 * KiB, guest_memory(64 * KiB), false});
    must(!refused && sees(512 * KiB, low + 512 * KiB), "slot 2 is refused");
    std::puts("slot 2, over slot 0: refused, and the device sees what it saw");
    const auto why = refused.error().sentence();  // and what to do about it
    std::printf("  %s\n", why.substr(0, why.find(';')).c_str());
    must(table.set(1, {0, 0, nullptr, false}));
    must(!sees(1 * GiB + 512 * KiB, high), "slot 1 is gone");
    std::puts("slot 1, of nothing: it is gone");
    std::printf("mapped at the end: %llu mapping, %llu KiB\n",
                static_cast<unsigned long long>(table.usage().mappings),
                static_cast<unsigned long long>(table.usage().bytes / KiB));
  }
  must(!sees(0, low), "the table is gone, and with it what was mapped");
}
