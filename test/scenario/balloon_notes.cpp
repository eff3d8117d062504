// SPDX-License-Identifier: BSL-1.0
// What a guest gave of a larger host page is noted until the page is complete. Meanwhile its map
// changes: memory is hidden, made read-only, unplugged and plugged in again, another block comes at
// an old one's address. A page goes only with frames that the guest gave of this very memory, and
// has had no occasion to use since.
#include <tether/discard/balloon.hpp>

#include <support/counted_memory.hpp>
#include <support/guest_ram.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory_resource>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace scenario_balloon_notes {

using namespace tether;
using tether_test::frames_down;
using tether_test::frames_up;
using tether_test::must;

namespace {

constexpr std::uint32_t ram_frame = 0x1000;    // where the memory lies
constexpr std::uint32_t alias_frame = 0x8000;  // where it lies again
constexpr std::uint64_t page = 64 * KiB;

/// Host memory that blocks of any page size are made over.
struct host_memory {
  explicit host_memory(std::uint64_t bytes = 4 * MiB)
      : plain{must(ram_block::allocate("plain", bytes + 2 * MiB))}, size{bytes} {}
  ram_block block(std::uint64_t of_page = page) {
    const host_address at{round_up(plain.host().value, 2 * MiB)};
    return must(ram_block::borrow("large", at, size, memory_kind::private_anonymous, of_page));
  }
  ram_block plain;
  std::uint64_t size;
};

/// A guest that has promised to tell, with 4 MiB in pages of 64 KiB.
struct large_memory {
  host_memory host;
  ram_block ram = host.block();
  address_space guest;
  region_id id = must(guest.place(region::ram(ram), frame_address(ram_frame)));

  large_memory() { tether_test::mark_all(ram); }
  static discard_report checked(discard_report told, std::vector<std::uint32_t> const& frames) {
    CHECK(told.adds_up());
    CHECK(told.requested == frames.size());
    return told;
  }
  [[nodiscard]] std::uint64_t gone() const { return tether_test::count(ram).gone; }
};
/// With a balloon.
struct large_guest : large_memory {
  discard_gate<> gate;
  balloon<> device{guest, gate, {.must_tell_host = true}};

  discard_report inflate(std::vector<std::uint32_t> const& frames) {
    return checked(device.inflate(frames), frames);
  }
  discard_report deflate(std::vector<std::uint32_t> const& frames) {
    return checked(device.deflate(frames), frames);
  }
};

/// Hides or changes the memory, and answers what puts it back as it was.
using disturbance = std::function<void()> (*)(large_guest&);
struct named_disturbance {
  std::string name;
  disturbance begin;
};
const std::array<named_disturbance, 4> disturbances{{
    {"read-only",
     [](large_guest& one) -> std::function<void()> {
       must(one.guest.set_read_only(one.id, true));
       return [&one] { must(one.guest.set_read_only(one.id, false)); };
     }},
    {"covered by registers",
     [](large_guest& one) -> std::function<void()> {
       const auto cover =
           must(one.guest.place(region::mmio("registers", 2 * MiB), frame_address(ram_frame), 1));
       return [&one, cover] { must(one.guest.remove(cover)); };
     }},
    {"covered by firmware",
     [](large_guest& one) -> std::function<void()> {
       const auto cover = must(one.guest.place(
           region::rom(one.host.plain, block_offset{0}, 64 * KiB), frame_address(ram_frame), 1));
       return [&one, cover] { must(one.guest.remove(cover)); };
     }},
    {"elsewhere",
     [](large_guest& one) -> std::function<void()> {
       must(one.guest.move(one.id, frame_address(2 * ram_frame)));
       return [&one] { must(one.guest.move(one.id, frame_address(ram_frame))); };
     }},
}};

}  // namespace

TEST_CASE(
    "a frame that is taken back while its memory is hidden, elsewhere or read-only is in use "
    "again, and keeps its page") {
  for (auto const& how : disturbances) {
    CAPTURE(how.name);
    large_guest one;
    CHECK(one.inflate(frames_up(ram_frame, 15)).partial == 15);
    const auto undo = how.begin(one);
    CHECK(one.deflate({ram_frame}).not_ram == 1);  // no memory that could be given back just now
    undo();
    one.ram.data()[0] = std::byte{42};
    const auto last = one.inflate({ram_frame + 15});
    CHECK(last.partial == 1);
    CHECK(last.calls == 0);
    CHECK(one.ram.data()[0] == std::byte{42});
    CHECK(one.gone() == 0);
  }
}

TEST_CASE(
    "frames that were given before the memory left the guest's map complete no page after it has "
    "come again") {
  const std::array<std::pair<std::string, std::function<void(large_guest&)>>, 6> ways{{
      {"disabled and enabled",
       [](large_guest& one) {
         must(one.guest.set_enabled(one.id, false));
         must(one.guest.set_enabled(one.id, true));
       }},
      {"removed and placed",
       [](large_guest& one) {
         must(one.guest.remove(one.id));
         one.id = must(one.guest.place(region::ram(one.ram), frame_address(ram_frame)));
       }},
      {"removed and placed while somebody still reads the old view",
       [](large_guest& one) {
         const auto reader = one.guest.view();
         must(one.guest.remove(one.id));
         one.id = must(one.guest.place(region::ram(one.ram), frame_address(ram_frame)));
         CHECK(one.inflate({ram_frame + 15}).partial == 1);
       }},
      {"removed and placed in one transaction",
       [](large_guest& one) {
         const auto reader = one.guest.view();
         auto change = one.guest.begin();
         must(change.remove(one.id));
         one.id = must(change.place(region::ram(one.ram), frame_address(ram_frame)));
         static_cast<void>(must(change.commit()));
         CHECK(one.inflate({ram_frame + 15}).partial == 1);
       }},
      {"moved there and back",
       [](large_guest& one) {
         must(one.guest.move(one.id, frame_address(alias_frame)));
         must(one.guest.move(one.id, frame_address(ram_frame)));
       }},
      {"covered and uncovered",
       [](large_guest& one) {
         const auto cover =
             must(one.guest.place(region::mmio("registers", 4 * MiB), frame_address(ram_frame), 1));
         must(one.guest.remove(cover));
       }},
  }};
  for (auto const& [name, replug] : ways) {
    CAPTURE(name);
    large_guest one;
    CHECK(one.inflate(frames_up(ram_frame, 15)).partial == 15);
    replug(one);
    CHECK(one.inflate({ram_frame + 15}).partial == 1);
    CHECK(one.gone() == 0);
    CHECK(one.inflate(frames_up(ram_frame, 15)).discarded == 15);  // and all of them anew do
    CHECK(one.gone() == 16);
  }
}

TEST_CASE(
    "a part of a block that is unplugged and plugged in again beside another part, which it merges "
    "with, is new to the balloon") {
  host_memory host;
  ram_block ram = host.block(2 * MiB);
  tether_test::mark_all(ram);
  address_space guest;
  discard_gate<> gate;
  balloon device{guest, gate, {.must_tell_host = true}};
  static_cast<void>(
      must(guest.place(region::ram(ram, block_offset{0}, 2 * MiB), frame_address(ram_frame))));
  const auto upper = region::ram(ram, block_offset{2 * MiB}, 2 * MiB);
  const auto id = must(guest.place(upper, frame_address(ram_frame + 512)));
  CHECK(device.inflate(frames_up(ram_frame + 512, 511)).partial == 511);
  must(guest.remove(id));
  static_cast<void>(must(guest.place(upper, frame_address(ram_frame + 512))));
  CHECK(guest.view()->size() == 1);
  CHECK(device.inflate(std::array{ram_frame + 1023}).partial == 1);
  CHECK(tether_test::count(ram).gone == 0);
}

TEST_CASE(
    "an edit that has nothing to do with the memory, or that is refused, forgets nothing of it") {
  struct refuses {
    void begin(commit_kind) noexcept {}
    void remove(section const&) noexcept {}
    void add(section const&) noexcept {}
    result<void> commit() noexcept {
      return on ? failure(error{"listener", errc::over_budget}) : result<void>{};
    }
    bool on = false;
  } listener;
  large_guest one;
  must(one.guest.add_listener(listener));
  CHECK(one.inflate(frames_up(ram_frame, 8)).partial == 8);
  static_cast<void>(must(one.guest.place(region::mmio("registers", 4 * KiB), guest_address{0})));
  must(one.guest.set_dirty_log(one.id, true));
  listener.on = true;
  CHECK_FALSE(one.guest.remove(one.id).has_value());
  listener.on = false;
  const auto last = one.inflate(frames_up(ram_frame + 8, 8));
  CHECK(last.discarded == 8);
  CHECK(last.completed == 8);
  must(one.guest.remove_listener(listener));
}

TEST_CASE(
    "a frame that is taken back where its memory is read-only or across two frames is in use again "
    "everywhere") {
  large_guest one;
  static_cast<void>(
      must(one.guest.place(region::ram(one.ram).read_only(), frame_address(alias_frame))));
  static_cast<void>(must(one.guest.place(region::rom(one.ram), frame_address(2 * alias_frame))));
  static_cast<void>(
      must(one.guest.place(region::ram(one.ram), frame_address(3 * alias_frame) + 2 * KiB)));
  // Its first half ends a section, its second half begins another.
  static_cast<void>(must(one.guest.place(region::ram(one.ram, block_offset{0}, 5 * frame_size),
                                         frame_address(4 * alias_frame) + 2 * KiB)));
  static_cast<void>(
      must(one.guest.place(region::rom(one.ram, block_offset{9 * frame_size}, 5 * frame_size),
                           frame_address(4 * alias_frame + 5) + 2 * KiB)));
  struct taken {
    std::uint32_t frame;
    std::vector<std::uint32_t> keeps;
    std::uint64_t returned;
  };
  for (taken const& back :
       {taken{ram_frame + 3, {3}, 1}, taken{alias_frame + 3, {3}, 0},
        taken{2 * alias_frame + 3, {3}, 0}, taken{3 * alias_frame + 3, {2, 3}, 1},
        taken{4 * alias_frame + 5, {4, 9}, 0}}) {
    CAPTURE(back.frame);
    one.device.reset();
    CHECK(one.inflate(frames_up(ram_frame, 15)).partial == 15);
    const auto told = one.deflate({back.frame});
    CHECK(told.returned == back.returned);
    CHECK(told.not_ram == 1 - back.returned);
    CHECK(one.inflate({ram_frame + 15}).partial == 1);
    for (const std::uint32_t kept : back.keeps) {
      CHECK(one.gone() == 0);
      const auto again = one.inflate({ram_frame + kept});
      CHECK(again.discarded == (kept == back.keeps.back() ? 1 : 0));
    }
    CHECK(one.gone() == 16);
    tether_test::mark_all(one.ram);
  }
}

namespace {

/// A block of `of_page`, plugged in where the bookkeeping of the last one lay, if the allocator
/// wants so.
struct plugged {
  plugged(address_space& guest, host_memory& host, std::uint64_t of_page)
      : ram{host.block(of_page)}, space{&guest} {
    id = must(space->place(region::ram(ram), frame_address(ram_frame)));
  }
  void unplug() {
    must(space->remove(id));
    must(ram.free());
  }
  ram_block ram;
  address_space* space;
  region_id id{};
};

/// An outer lock. The gate and the balloon ask for it whenever they would take a lock of their own,
/// which is a place to act at.
struct outer_lock {
  static bool is_held() noexcept {
    if (when_asked) when_asked();
    return true;
  }
  static inline std::function<void()> when_asked;
};
using hooked = externally_serialised<outer_lock>;

}  // namespace

TEST_CASE("a block with larger pages at a freed block's address is judged by its own pages") {
  host_memory host;
  address_space guest;
  discard_gate<> gate;
  balloon device{guest, gate, {.must_tell_host = true}};
  bool met = false;
  for (int round = 0; round < 64; ++round) {
    plugged small{guest, host, page};
    memory_backing const* const was = &small.ram.backing();
    CHECK(device.inflate(frames_up(ram_frame, 15)).partial == 15);
    small.unplug();
    plugged large{guest, host, 2 * MiB};
    tether_test::mark_all(large.ram);
    met = met || &large.ram.backing() == was;
    // The note of the small page has 16 bits, and its vector one word: frame 511 lies 7 words
    // behind it.
    if (round % 2 == 0) CHECK(device.deflate(std::array{ram_frame + 511}).returned == 1);
    CHECK(device.inflate(std::array{ram_frame + 511}).partial == 1);
    CHECK(device.inflate(frames_up(ram_frame, 510)).partial == 510);
    CHECK(tether_test::count(large.ram).gone == 0);
    CHECK(device.inflate(std::array{ram_frame + 510}).completed == 511);
    CHECK(tether_test::count(large.ram).gone == 512);
    large.unplug();
  }
  WARN(met);  // else the allocator never gave the address again, and nothing was shown
}

TEST_CASE(
    "a block that another takes the place of between two permits of one request leaves it no "
    "note") {
  host_memory host;
  address_space guest;
  discard_gate<hooked> gate;
  balloon<hooked> device{guest, gate};
  for (int round = 0; round < 16; ++round) {
    std::optional<plugged> dimm;
    dimm.emplace(guest, host, page);
    // The first permit is of the small block alone; the other frames are of the block that is there
    // by then.
    std::vector<std::uint32_t> frames(512, ram_frame + 2);
    for (std::uint32_t i = 0; i < 16; ++i) frames.push_back(ram_frame + i);
    frames.push_back(ram_frame + 511);
    int asked = 0;
    outer_lock::when_asked = [&] {
      // First for the first permit; then when it ends, and no view mentions the memory any more.
      if (++asked == 1 || dimm->ram.page_size() != page || dimm->ram.backing().references() > 1)
        return;
      dimm->unplug();
      dimm.emplace(guest, host, 2 * MiB);
      tether_test::mark_all(dimm->ram);
    };
    const auto told = device.inflate(frames);
    outer_lock::when_asked = {};
    CHECK(told.adds_up());
    CHECK(dimm->ram.page_size() == 2 * MiB);
    CHECK(told.partial == 512 + 16 + 1);
    CHECK(told.calls == 0);
    CHECK(tether_test::count(dimm->ram).gone == 0);
    dimm->unplug();
  }
}

TEST_CASE(
    "an edit between the look-up and the note: of this memory it makes the frames start anew, of "
    "other memory it changes nothing") {
  large_memory one;
  auto& guest = one.guest;
  discard_gate<hooked> gate;
  balloon<hooked> device{guest, gate, {.must_tell_host = true}};
  const auto registers = must(guest.place(region::mmio("registers", 4 * KiB), guest_address{0}));
  bool on = true;
  const auto of_others = [&] { must(guest.set_enabled(registers, on = !on)); };
  const auto of_this = [&] {
    must(guest.set_read_only(one.id, true));
    must(guest.set_read_only(one.id, false));
  };
  // What the outer lock is asked for: for a permit, for the notes, and for the permit's end.
  int asked = 0;
  std::function<void()> edit;
  int first = 0;
  int last = 0;
  const auto act = [&] {
    if (++asked >= first && asked <= last) edit();
  };
  const auto inflate = [&](std::vector<std::uint32_t> const& frames, int from, int until,
                           std::function<void()> what) {
    asked = 0, first = from, last = until, edit = std::move(what);
    outer_lock::when_asked = act;
    const auto told = large_guest::checked(device.inflate(frames), frames);
    outer_lock::when_asked = {};
    return told;
  };
  constexpr int at_the_notes = 2;  // behind the first look at the map

  CHECK(inflate(frames_up(ram_frame, 15), 0, 0, {}).partial == 15);
  auto told = inflate({ram_frame + 15}, at_the_notes, at_the_notes, of_others);
  CHECK(told.discarded == 1);
  CHECK(told.completed == 15);
  CHECK(asked > 3);  // it has looked at the map again
  CHECK(inflate(frames_up(ram_frame + 16, 15), 0, 0, {}).partial == 15);
  told = inflate({ram_frame + 31}, at_the_notes, at_the_notes, of_this);
  CHECK(told.partial == 1);
  CHECK(told.calls == 0);
  told = inflate(frames_up(ram_frame + 16, 15), 0, 0, {});  // that one counts
  CHECK(told.discarded == 15);
  CHECK(told.completed == 1);

  // A map that changes at every look: the request ends, and what could not be noted stays with the
  // guest.
  tether_test::mark_all(one.ram);
  told = inflate(frames_up(ram_frame + 32, 16), 0, 1'000'000, of_others);
  CHECK(told.partial == 16);
  CHECK(told.calls == 0);
  CHECK(one.gone() == 0);
}

TEST_CASE(
    "an edit by another address space, amid a batch, costs no discarded page its note and no frame "
    "its count") {
  host_memory host{1 * MiB};
  ram_block ram = host.block();
  tether_test::mark_all(ram);
  discard_gate<> gate;
  address_space guest;
  address_space other;
  static_cast<void>(must(guest.place(region::ram(ram), frame_address(ram_frame))));
  const auto shared = must(other.place(region::ram(ram), frame_address(ram_frame)));
  // Its first allocation for the second page finds the first page in the batch already.
  struct acting_memory final : std::pmr::memory_resource {
    std::function<void()> act;
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
      if (act) act();
      return std::pmr::new_delete_resource()->allocate(bytes, alignment);
    }
    void do_deallocate(void* at, std::size_t bytes, std::size_t alignment) override {
      std::memset(at, 0xa5, bytes);
      std::pmr::new_delete_resource()->deallocate(at, bytes, alignment);
    }
    bool do_is_equal(std::pmr::memory_resource const& that) const noexcept override {
      return this == &that;
    }
  } notes;
  balloon device{guest, gate, {.must_tell_host = true, .memory = &notes}};
  int allocations = 0;
  bool on = true;
  notes.act = [&] {
    if (++allocations > 4) must(other.set_read_only(shared, on = !on));
  };
  const auto told = device.inflate(frames_up(ram_frame, 64));
  notes.act = {};
  CHECK(told.adds_up());
  CHECK(told.discarded + told.partial == 64);
  CHECK(told.discarded >= 16);
  CHECK(tether_test::count(ram).gone == told.discarded);
}

TEST_CASE("memory that comes and goes a thousand times leaves no notes behind") {
  tether_test::counted_memory notes;
  host_memory host;
  address_space guest;
  discard_gate<> gate;
  balloon device{guest, gate, {.must_tell_host = true, .memory = &notes}};
  std::vector<ram_block> kept;  // so that each has an address of its own
  std::size_t most = 0;
  const auto cycle = [&] {
    kept.push_back(host.block(2 * MiB));
    const auto id = must(guest.place(region::ram(kept.back()), frame_address(ram_frame)));
    std::vector<std::uint32_t> frames{ram_frame, ram_frame + 512};
    CHECK(device.inflate(frames).partial == 2);
    most = std::max(most, notes.now);
    must(guest.remove(id));
  };
  cycle();
  const std::size_t of_one = notes.now;
  CHECK(of_one > 0);
  for (int i = 1; i < 1000; ++i) cycle();
  CHECK(most <= of_one);
  CHECK(device.inflate(std::array{ram_frame}).not_ram == 1);
  CHECK(notes.now == 0);  // the next request forgets what is gone
}

TEST_CASE(
    "memory that comes and goes under two balloons of two guests that share it: no frame in use is "
    "lost") {
  // Each guest owns one frame of each page, and gives all others, again and again; an edit of
  // either map makes the notes of both void.
  host_memory host{1 * MiB};
  ram_block ram = host.block();
  tether_test::mark_all(ram);
  discard_gate<> gate;
  address_space first;
  address_space second;
  static_cast<void>(must(first.place(region::ram(ram), frame_address(ram_frame))));
  std::atomic<bool> enough{false};
  std::atomic<std::uint64_t> lost{0};
  std::atomic<std::uint64_t> wrong{0};
  std::thread other_map{[&] {
    while (!enough) {
      const auto id = must(second.place(region::ram(ram), frame_address(ram_frame)));
      must(second.remove(id));
    }
  }};
  std::thread balloons{[&] {
    balloon device{first, gate, {.must_tell_host = true}};
    for (int round = 0; round < 2'000; ++round) {
      for (std::uint32_t part = 0; part < 16; ++part) {
        const auto told = device.inflate(frames_down(ram_frame + 16 * part, 15));
        wrong += told.adds_up() && told.partial == 15 ? 0 : 1;
      }
      static_cast<void>(device.deflate(frames_up(ram_frame, 256)));
      for (std::uint32_t part = 0; part < 16; ++part)
        lost += tether_test::is_marked(ram, (16 * part + 15) * frame_size) ? 0 : 1;
    }
    enough = true;
  }};
  balloons.join();
  other_map.join();
  CHECK(lost == 0);
  CHECK(wrong == 0);
}

}  // namespace scenario_balloon_notes
