// SPDX-License-Identifier: BSL-1.0
// Whatever a guest tells its balloon and its page reporting, on real memory: frames out of range,
// twice, in parts of larger pages, across borders, taken back though never given, while holds come
// and go and the map changes: memory is hidden, moved, made read-only, unplugged and plugged in
// again, and a block with pages of another size comes where one was freed. Only what was given may
// go, of the very memory that it was given of, and what goes is what the report says; everything
// else keeps every byte.
#include "input.hpp"

#include <tether/discard/balloon.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace tether;
using tether_fuzz::demand;
using tether_fuzz::input;

namespace {

constexpr std::uint64_t frames_of_small = 12;
constexpr std::uint64_t frames_of_large = 16;
constexpr std::uint64_t frames_of_dimm = 128;
constexpr std::uint64_t large_page = 4 * frame_size;  // as if the host's pages were that large
constexpr std::uint64_t guest_frames = 240;

/// A block, and what each of its frames must hold now: the mark of when the guest wrote it last, or
/// zeros.
struct watched_block {
  ram_block block;
  std::vector<std::uint8_t> mark;  // of each frame; 0 where it went
  // frames of large pages that the guest has given, and had no occasion to use since
  std::vector<bool> given;
  std::uint8_t next = 0;

  explicit watched_block(ram_block made)
      : block{std::move(made)}, mark(block.size() / frame_size, 0), given(mark.size(), false) {}

  [[nodiscard]] std::uint64_t frames_a_page() const { return block.page_size() / frame_size; }
  void forget() { given.assign(given.size(), false); }
  void write(std::uint64_t frame) {
    next = static_cast<std::uint8_t>(next % 251 + 1);
    mark[frame] = next;
    std::memset(block.data() + frame * frame_size, next, frame_size);
  }
  void write_all() {
    for (std::uint64_t i = 0; i < mark.size(); ++i) write(i);
    forget();
  }
  /// Looks at every byte. Looking brings a page of zeros in where one went.
  void check() const {
    for (std::uint64_t i = 0; i < mark.size(); ++i) {
      std::byte const* const bytes = block.data() + i * frame_size;
      const bool uniform = std::memcmp(bytes, bytes + 1, frame_size - 1) == 0;
      if (!uniform || std::to_integer<std::uint8_t>(bytes[0]) != mark[i])
        tether_fuzz::found(
            "frame " + std::to_string(i) + " of " + std::string{block.name()} +
            (mark[i] == 0 ? " was to go, and is still there" : " went, and was not to"));
    }
  }
};

std::uintptr_t pages(std::uint64_t frames, memory_kind kind, std::uint64_t unit) {
  const int sharing = kind == memory_kind::shared ? MAP_SHARED : MAP_PRIVATE;
  void* const at = ::mmap(nullptr, frames * frame_size + unit, PROT_READ | PROT_WRITE,
                          sharing | MAP_ANONYMOUS, -1, 0);
  ::madvise(at, frames * frame_size + unit, MADV_NOHUGEPAGE);
  return round_up(reinterpret_cast<std::uintptr_t>(at), unit);
}
watched_block borrowed(const char* name, std::uintptr_t at, std::uint64_t frames, memory_kind kind,
                       std::uint64_t unit) {
  return watched_block{
      std::move(*ram_block::borrow(name, host_address{at}, frames * frame_size, kind, unit))};
}
watched_block borrowed(const char* name, std::uint64_t frames, memory_kind kind,
                       std::uint64_t unit) {
  return borrowed(name, pages(frames, kind, unit), frames, kind, unit);
}

/// As a guest's memory restored from a file: where it is discarded, none of the file's bytes may
/// come back.
watched_block snapshot(const char* name, std::uint64_t frames) {
  const auto file = static_cast<int>(linux_kernel::memfd_create(name, MFD_CLOEXEC));
  const std::string bytes(frames * frame_size, '\xfe');  // no mark
  demand(::write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
         "a file can be written");
  void* const at = ::mmap(nullptr, bytes.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  ::close(file);
  return watched_block{
      std::move(*ram_block::borrow(name, host_address{reinterpret_cast<std::uintptr_t>(at)},
                                   bytes.size(), memory_kind::private_file))};
}

/// The same memory for every input; each begins by writing all of it.
struct host_memory {
  watched_block small =
      borrowed("small", frames_of_small, memory_kind::private_anonymous, frame_size);
  watched_block shared = borrowed("shared", 4, memory_kind::shared, frame_size);
  watched_block large =
      borrowed("large", frames_of_large, memory_kind::private_anonymous, large_page);
  watched_block restored = snapshot("snapshot", 4);

  /// Of the block that is plugged in and out: each is a new one over the same memory, in pages of
  /// one frame to 128: what is noted of the largest is more than one word.
  std::uintptr_t of_dimm =
      pages(frames_of_dimm, memory_kind::private_anonymous, frames_of_dimm* frame_size);
};
host_memory& host() {
  static auto& the_memory = *new host_memory;
  return the_memory;
}

//  frame   0..11  small          24..39  large            56..58  a part of large again, from its second frame
//         12..15  shared         44..47  small, aliased   60..61  small from the middle of its frame 8
//         16..17  ROM of small   50      registers         9..9   half a frame of registers, in its second half
//         18..21  snapshot
//         64..79  the beginning of the DIMM again, read-only              96..111  large again, read-only
//         112..239  the DIMM
struct guest_map {
  /// A region as it was placed last, and what was set since.
  struct placed {
    region what;
    guest_address at;
    int priority;
    region_id id;
    bool enabled = true;
    bool read_only = false;
  };
  address_space guest;
  std::vector<placed> regions;

  static guest_address frame(std::uint64_t number) { return guest_address{number * frame_size}; }
  void place(region const& what, guest_address at, int priority = 0) {
    regions.push_back(
        {what, at, priority, *guest.place(what, at, priority), true, what.is_read_only()});
  }

  guest_map() {
    auto& memory = host();
    place(region::ram(memory.small.block), frame(0));
    place(region::ram(memory.shared.block), frame(12));
    place(region::rom(memory.small.block, block_offset{0}, 2 * frame_size), frame(16));
    place(region::ram(memory.restored.block), frame(18));
    place(region::ram(memory.large.block), frame(24));
    place(region::ram(memory.small.block, block_offset{4 * frame_size}, 4 * frame_size), frame(44));
    place(region::mmio("registers", frame_size), frame(50));
    place(region::ram(memory.large.block, block_offset{frame_size}, 3 * frame_size), frame(56));
    place(region::ram(memory.small.block, block_offset{8 * frame_size + frame_size / 2},
                      2 * frame_size),
          frame(60));
    place(region::mmio("half", frame_size / 2), frame(9) + frame_size / 2, 1);
    place(region::mmio("overlay", 3 * frame_size), frame(5), 1);
    static_cast<void>(guest.set_enabled(regions.back().id, false));
    regions.back().enabled = false;
    place(region::ram(memory.large.block).read_only(), frame(96));
  }

  /// Where and how a block is seen.
  struct sight {
    extent<guest_address> where;
    std::uint64_t offset;
    region_kind kind;
    bool read_only;
    friend bool operator==(sight const&, sight const&) = default;
  };
  [[nodiscard]] std::vector<sight> sights_of(watched_block const& block) const {
    std::vector<sight> all;
    for (section const& one : *guest.view())
      if (one.memory == &block.block.backing())
        all.push_back({one.where, one.offset.value, one.kind, one.read_only});
    return all;
  }
};

class program {
 public:
  explicit program(input& in)
      : in_{in},
        must_tell_{in.flag()},
        balloon_{map_.guest, gate_, {.must_tell_host = must_tell_}} {
    for (watched_block* one : blocks()) one->write_all();
  }
  program(program const&) = delete;
  program& operator=(program const&) = delete;

  void run() {
    while (!in_.empty()) {
      switch (in_.below(11)) {
        case 0:
        case 1:
        case 2: inflate(); break;
        case 3: deflate(); break;
        case 4: report_pages(); break;
        case 5: hold(); break;
        case 6: let_go(); break;
        case 7: rearrange(); break;
        case 8: write(); break;
        case 9: plug(); break;
        default:
          if (in_.below(4) == 0) {
            balloon_.reset();
            for (watched_block* one : blocks()) one->forget();
          }
          break;
      }
      for (watched_block const* one : blocks()) one->check();
    }
  }

 private:
  [[nodiscard]] std::vector<watched_block*> blocks() {
    std::vector<watched_block*> all{&host().small, &host().shared, &host().large, &host().restored};
    if (dimm_) all.push_back(&*dimm_);
    return all;
  }
  [[nodiscard]] watched_block* block_of(memory_backing const* memory) {
    for (watched_block* one : blocks())
      if (&one->block.backing() == memory) return one;
    return nullptr;
  }
  /// What a guest's frame is: a frame of a block that may be given back.
  struct target {
    watched_block* block = nullptr;
    std::uint64_t offset = 0;
    [[nodiscard]] bool whole() const { return block != nullptr && offset % frame_size == 0; }
    [[nodiscard]] std::uint64_t frame() const { return offset / frame_size; }
  };
  /// By looking at all that is placed, through the view as a reader sees it.
  target find(std::uint64_t number) {
    const auto first = number * frame_size;
    for (section const& one : *map_.guest.view()) {
      if (one.where.first.value > first || one.where.last.value < first + (frame_size - 1))
        continue;
      if (one.kind != region_kind::ram || one.read_only) return {};
      return {block_of(one.memory), one.offset.value + (first - one.where.first.value)};
    }
    return {};
  }

  std::vector<std::uint32_t> some_frames() {
    std::vector<std::uint32_t> frames;
    for (auto runs = in_.below(6); runs-- > 0;) {
      const auto how = in_.below(8);
      auto first = static_cast<std::uint32_t>(in_.below(guest_frames));
      if (how == 0) first = in_.word();
      // 600: more than one permit has
      const auto count = how == 1 ? 600 : how == 2 ? frames_of_dimm : in_.below(20);
      const bool down = in_.flag();
      for (std::uint32_t i = 0; i < count; ++i)
        frames.push_back(how == 1 ? first + i % 16 : down ? first - i : first + i);
    }
    return frames;
  }
  /// As they lie in a queue, with some bytes too many at the end.
  std::vector<std::byte> queued(std::vector<std::uint32_t> const& frames) {
    std::vector<std::byte> bytes;
    for (const std::uint32_t number : frames)
      for (unsigned i = 0; i < 4; ++i) bytes.push_back(static_cast<std::byte>(number >> (8 * i)));
    bytes.resize(bytes.size() + in_.below(4));
    return bytes;
  }
  [[nodiscard]] bool inhibited() const { return !holds_.empty() || !suspensions_.empty(); }

  void inflate() {
    const auto frames = some_frames();
    const auto report = in_.flag() ? balloon_.inflate(std::span<std::uint32_t const>{frames})
                                   : balloon_.inflate(queued(frames));
    demand(report.adds_up() && report.requested == frames.size(), "every frame is counted once");
    if (inhibited()) {
      demand(report.inhibited == frames.size() && report.calls == 0,
             "an inhibited request changes nothing");
      return;
    }
    if (!must_tell_) forget_all();
    std::uint64_t not_ram = 0;
    std::uint64_t discarded = 0;
    std::uint64_t partial = 0;
    // how often a frame of each large page was
    std::vector<std::pair<watched_block*, std::vector<std::uint64_t>>> named;
    for (watched_block* one : blocks())
      named.emplace_back(one,
                         std::vector<std::uint64_t>(one->mark.size() / one->frames_a_page(), 0));
    for (const std::uint32_t number : frames) {
      const target to = find(number);
      if (to.block == nullptr) {
        not_ram += 1;
      } else if (!to.whole()) {
        partial += 1;
      } else if (to.block->frames_a_page() == 1) {
        to.block->mark[to.frame()] = 0;
        discarded += 1;
      } else {
        to.block->given[to.frame()] = true;
        for (auto& [block, pages] : named)
          if (block == to.block) pages[to.frame() / block->frames_a_page()] += 1;
      }
    }
    std::uint64_t at_most_completed = 0;
    for (auto const& [block, pages] : named) {
      const auto size = static_cast<std::ptrdiff_t>(block->frames_a_page());
      for (std::size_t of = 0; of < pages.size(); ++of) {
        if (pages[of] == 0) continue;
        const auto given = block->given.begin() + static_cast<std::ptrdiff_t>(of) * size;
        if (!std::all_of(given, given + size, [](bool one) { return one; })) {
          partial += pages[of];
          continue;
        }
        discarded += pages[of];
        at_most_completed += block->frames_a_page() - 1;
        const auto marks = block->mark.begin() + static_cast<std::ptrdiff_t>(of) * size;
        std::fill(marks, marks + size, std::uint8_t{0});
      }
    }
    demand(report.not_ram == not_ram, "what is no memory of the guest's is counted as that");
    demand(report.partial == partial, "what is a part of a page is counted as that");
    demand(report.discarded == discarded && report.errors == 0 && report.inhibited == 0,
           "what went is counted as that");
    demand(report.completed <= at_most_completed, "no more went along than the rest of each page");
    if (!must_tell_)
      demand(report.completed == 0,
             "without a promise of the guest's, nothing of an earlier request goes along");
    if (!must_tell_) forget_all();
  }
  void forget_all() {
    for (watched_block* one : blocks()) one->forget();
  }

  void deflate() {
    const auto frames = some_frames();
    const auto report = in_.flag() ? balloon_.deflate(std::span<std::uint32_t const>{frames})
                                   : balloon_.deflate(queued(frames));
    demand(report.adds_up() && report.requested == frames.size() && report.calls == 0,
           "every frame is counted once, and nothing goes");
    std::uint64_t returned = 0;
    for (const std::uint32_t number : frames) {
      returned += find(number).block != nullptr ? 1U : 0U;
      use_again(std::uint64_t{number} * frame_size);
    }
    demand(report.returned == returned, "what the guest takes back is counted");
  }

  /// Whatever memory lies in a frame is in use again, byte by byte, through whichever section.
  void use_again(std::uint64_t first) {
    for (section const& one : *map_.guest.view()) {
      watched_block* const block = block_of(one.memory);
      const auto part =
          one.where.intersection({guest_address{first}, guest_address{first + (frame_size - 1)}});
      if (block == nullptr || !part) continue;
      for (std::uint64_t at = part->first.value; at <= part->last.value; at += 512)
        block->given[(one.offset.value + (at - one.where.first.value)) / frame_size] = false;
    }
  }

  void report_pages() {
    std::vector<extent<guest_address>> ranges;
    for (auto count = in_.below(4); count-- > 0;) {
      auto first = in_.below(guest_frames) * frame_size;
      auto bytes = (1 + in_.below(24)) * frame_size;
      const auto how = in_.below(8);
      if (how == 0) first += in_.byte();
      if (how == 1) bytes += in_.byte();
      if (how == 2) first = ~std::uint64_t{0} - (bytes - 1);      // ends with 2^64
      if (how == 3) first = ~std::uint64_t{0} - (bytes / 2 - 1);  // wraps
      if (how == 4 && first != 0) bytes = 0;                      // ends before it begins
      ranges.push_back({guest_address{first}, guest_address{first + (bytes - 1)}});
    }
    const std::uint32_t poison = in_.below(8) == 0 ? 0xaa : 0;
    page_reporting reporting{map_.guest, gate_};
    const auto report = reporting.report(ranges, poison);
    std::uint64_t requested = 0;
    std::uint64_t discarded = 0;
    bool open = poison == 0;
    for (auto const& range : ranges) {
      const auto frames = (range.last.value / frame_size - range.first.value / frame_size) %
                              (std::uint64_t{1} << 52) +
                          1;
      requested += frames;
      if (!open || range.last < range.first || !range.aligned_to(frame_size)) continue;
      open = open && !inhibited();
      if (open) discarded += discard(range.first.value / frame_size, frames);
    }
    demand(report.adds_up() && report.requested == requested, "every frame is counted once");
    demand(report.discarded == discarded && report.errors == 0, "what went is counted");
    if (inhibited() || poison != 0)
      demand(report.calls == 0, "an inhibited request changes nothing");
  }
  /// What of a range lies in one section goes if it is whole pages of its block. Answers the
  /// frames.
  std::uint64_t discard(std::uint64_t first, std::uint64_t count) {
    std::uint64_t gone = 0;
    const auto view = map_.guest.view();
    for (std::uint64_t at = first; at < first + count;) {
      section const* const one = view.find(frame_address(static_cast<std::uint32_t>(at)));
      if (at > 0xffff'ffff || one == nullptr) {
        at += 1;
        continue;
      }
      std::uint64_t end = at;
      while (end < first + count &&
             one->where.contains(extent<guest_address>{guest_map::frame(end),
                                                       guest_map::frame(end) + (frame_size - 1)}))
        end += 1;
      if (end == at) {
        at += 1;  // across a border
        continue;
      }
      const target begin = find(at);
      const std::uint64_t unit = begin.block == nullptr ? 0 : begin.block->block.page_size();
      if (begin.whole() && begin.offset % unit == 0 && (end - at) * frame_size % unit == 0) {
        for (std::uint64_t i = 0; i < end - at; ++i) begin.block->mark[begin.frame() + i] = 0;
        gone += end - at;
      }
      at = end;
    }
    return gone;
  }

  void hold() {
    switch (in_.below(4)) {
      case 0:
      case 1: {
        auto taken = gate_.hold(in_.flag() ? hold_kind::any : hold_kind::uncoordinated, "device");
        demand(taken.has_value() != (gate_.counts().any_requirements != 0),
               "a hold is refused exactly where discards are required");
        if (taken) holds_.push_back(std::move(*taken));
        break;
      }
      case 2: suspensions_.push_back(gate_.suspend("snapshot")); break;
      default: {
        auto taken = gate_.require(requirement_kind::any, "memory device");
        demand(taken.has_value() == holds_.empty(),
               "a requirement is refused exactly where somebody holds");
        if (taken) requirements_.push_back(std::move(*taken));
        break;
      }
    }
  }
  void let_go() {
    if (in_.flag() && !holds_.empty())
      holds_.erase(holds_.begin() + static_cast<std::ptrdiff_t>(in_.below(holds_.size())));
    else if (in_.flag() && !suspensions_.empty()) suspensions_.pop_back();
    else requirements_.clear();
  }

  /// An edit of the map. What was given of a block before that is or was seen otherwise, or that
  /// the edit names, is given no more.
  template <class Edit>
  void edit(memory_backing const* names, Edit how) {
    std::vector<std::pair<watched_block*, std::vector<guest_map::sight>>> before;
    for (watched_block* one : blocks()) before.emplace_back(one, map_.sights_of(*one));
    how();
    for (auto const& [block, sights] : before)
      if (&block->block.backing() == names || map_.sights_of(*block) != sights) block->forget();
  }
  void rearrange() {
    auto& one = map_.regions[in_.below(map_.regions.size())];
    const bool on = in_.flag();
    switch (in_.below(4)) {
      case 0:
        edit(one.enabled != on ? one.what.memory() : nullptr, [&] {
          demand(map_.guest.set_enabled(one.id, on).has_value(), "a region is enabled or disabled");
        });
        one.enabled = on;
        break;
      case 1:
        edit(one.read_only != on ? one.what.memory() : nullptr, [&] {
          demand(map_.guest.set_read_only(one.id, on).has_value(),
                 "a region is made read-only or writable");
        });
        one.read_only = on;
        break;
      case 2: {
        const auto to = guest_map::frame(in_.below(guest_frames));
        edit(one.what.memory(),
             [&] { demand(map_.guest.move(one.id, to).has_value(), "a region moves"); });
        one.at = to;
        break;
      }
      default: replug(one, on); break;
    }
  }
  /// Removes a region and places it where it was: in one transaction or in two, with or without a
  /// reader of the old view.
  void replug(guest_map::placed& one, bool at_once) {
    std::optional<view_guard> reader;
    if (in_.flag()) reader = map_.guest.view();
    if (at_once) {
      edit(one.what.memory(), [&] {
        auto change = map_.guest.begin();
        demand(change.remove(one.id).has_value(), "a region is removed");
        one.id = *change.place(one.what, one.at, one.priority);
        demand(change.commit().has_value(), "a region is replaced");
      });
    } else {
      edit(one.what.memory(),
           [&] { demand(map_.guest.remove(one.id).has_value(), "a region is removed"); });
      if (in_.flag()) inflate();
      edit(one.what.memory(), [&] { one.id = *map_.guest.place(one.what, one.at, one.priority); });
    }
    one.enabled = true;
    one.read_only = one.what.is_read_only();
    if (reader && in_.flag()) inflate();  // while the old memory is still kept
  }
  /// Plugs the DIMM in, or out: then its block is freed, and the next one's bookkeeping lies where
  /// its did.
  void plug() {
    if (dimm_) {
      memory_backing* const memory = &dimm_->block.backing();
      for (std::size_t i = map_.regions.size(); i-- > 0;) {
        if (map_.regions[i].what.memory() != memory) continue;
        edit(memory, [&] {
          demand(map_.guest.remove(map_.regions[i].id).has_value(), "a DIMM is unplugged");
        });
        map_.regions.erase(map_.regions.begin() + static_cast<std::ptrdiff_t>(i));
      }
      demand(dimm_->block.free().has_value(),
             "an unplugged DIMM is freed, whatever was noted of it");
      dimm_.reset();
      return;
    }
    const std::array<std::uint64_t, 4> units{1, 4, 8, 128};
    dimm_.emplace(borrowed("dimm", host().of_dimm, frames_of_dimm, memory_kind::private_anonymous,
                           units[in_.below(4)] * frame_size));
    dimm_->write_all();
    edit(nullptr, [&] { map_.place(region::ram(dimm_->block), guest_map::frame(112)); });
    const auto again = region::ram(dimm_->block, block_offset{0}, 16 * frame_size).read_only();
    if (in_.flag()) edit(nullptr, [&] { map_.place(again, guest_map::frame(64)); });
  }
  /// The guest uses a frame. Where it has promised to tell first, only one that it has not given.
  void write() {
    const auto all = blocks();
    watched_block& block = *all[in_.below(all.size())];
    const auto frame = in_.below(block.mark.size());
    if (!block.given[frame] || !must_tell_) block.write(frame);
  }

  input& in_;
  bool must_tell_;
  std::optional<watched_block> dimm_;
  guest_map map_;
  discard_gate<> gate_;
  balloon<> balloon_;
  std::vector<tether::hold<multi_threaded>> holds_;
  std::vector<suspension<multi_threaded>> suspensions_;
  std::vector<requirement<multi_threaded>> requirements_;
};

}  // namespace

/// Without a quarantine a new block's bookkeeping lies where a freed one's did, as it does without
/// the sanitizer.
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=0:thread_local_quarantine_size_kb=0";
}

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  input in{data, size};
  program{in}.run();
  for (watched_block const* one : {&host().small, &host().shared, &host().large, &host().restored})
    demand(one->block.backing().references() == 0,
           "nothing refers to memory that is placed nowhere");
  return 0;
}
