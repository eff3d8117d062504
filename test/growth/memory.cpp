// SPDX-License-Identifier: BSL-1.0
// RAM blocks: N of each source made and freed in every order, N windows of one file, N pieces
// discarded and populated.
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/core/discard_permit.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/ram_block.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <sys/mman.h>
#include <utility>
#include <vector>

namespace growth_memory {

using namespace tether;
using namespace tether_test::growth;
using tether_test::must;

namespace {

using blocks = std::vector<std::optional<ram_block>>;

/// N blocks that `make(i)` makes, counted, freed in the given order, counted.
template <class Make>
void made_and_freed(std::uint64_t n, meter& all, Make make) {
  for (int order = 0; order != 3; ++order) {
    auto which = shuffled(n);
    if (order != 2) std::ranges::sort(which);
    if (order == 1) std::ranges::reverse(which);
    blocks them(n);
    all.count([&] {
      for (std::uint64_t i = 0; i != n; ++i) them[i].emplace(make(i));
      for (const auto i : which) must(them[i]->free());
    });
  }
}
ram_block of_kind(memory_kind kind) {
  return must(ram_block::allocate<linux_calls>("ram", page, kind));
}

/// A file of N pages.
struct file {
  explicit file(std::uint64_t pages) {
    REQUIRE(descriptor >= 0);
    REQUIRE(linux_kernel::ftruncate(descriptor, pages * page) == 0);
  }
  file(file const&) = delete;
  file& operator=(file const&) = delete;
  ~file() { static_cast<void>(linux_kernel::close(descriptor)); }

  int descriptor = static_cast<int>(linux_kernel::memfd_create("file", MFD_CLOEXEC));
};

/// Memory of this test's own, N pages.
struct lent {
  explicit lent(std::uint64_t pages)
      : size{pages * page},
        at{linux_kernel::mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)} {
    REQUIRE(at > 0);
  }
  lent(lent const&) = delete;
  lent& operator=(lent const&) = delete;
  ~lent() { static_cast<void>(linux_kernel::munmap(static_cast<std::uint64_t>(at), size)); }

  std::uint64_t size;
  std::int64_t at;
};

template <class Act>
void on_pieces(std::uint64_t n, meter& all, Act act) {
  auto block = memory_of(2 * n);
  all.count([&] {
    for (std::uint64_t i = 0; i != n; ++i) {
      const block_offset first{2 * i * page};
      must(act(block, extent<block_offset>{first, first + (page - 1)}));
    }
  });
}

constexpr const char* files =
    "the files that are mapped are one list, in which one that comes again is looked for: some ten "
    "steps a pair, beside a dozen system calls for each";

const row rows[]{
    {"N private blocks", "ram_block::allocate ram_block::free ram_block::~ram_block", promise::each,
     [](std::uint64_t n, meter& all) {
       made_and_freed(n, all,
                      [](std::uint64_t) { return of_kind(memory_kind::private_anonymous); });
     }},
    {
        "N shared blocks",
        "ram_block::allocate ram_block::free",
        promise::each,
        [](std::uint64_t n, meter& all) {
          made_and_freed(n, all, [](std::uint64_t) { return of_kind(memory_kind::shared); });
        },
    },
    {"N windows of one file", "ram_block::from_descriptor", promise::each,
     [](std::uint64_t n, meter& all) {
       const file one{n};
       made_and_freed(n, all, [&](std::uint64_t i) {
         return must(
             ram_block::from_descriptor<linux_calls>("window", one.descriptor, i * page, page));
       });
     }},
    {"the same window of one file N times", "ram_block::from_descriptor", promise::each,
     [](std::uint64_t n, meter& all) {
       const file one{1};
       made_and_freed(n, all, [&](std::uint64_t) {
         return must(ram_block::from_descriptor<linux_calls>("window", one.descriptor, 0, page));
       });
     }},
    {"N windows of N files", "ram_block::from_descriptor", promise::square,
     [](std::uint64_t n, meter& all) {
       std::deque<file> them;
       for (std::uint64_t i = 0; i != n; ++i) them.emplace_back(1);
       made_and_freed(n, all, [&](std::uint64_t i) {
         return must(
             ram_block::from_descriptor<linux_calls>("window", them[i].descriptor, 0, page));
       });
     },
     128, files},
    {"a window of a file beside N files", "ram_block::from_descriptor", promise::each,
     [](std::uint64_t n, meter& all) {
       blocks them(n);
       const file one{1};
       for (auto& other : them) other.emplace(of_kind(memory_kind::shared));
       all.count([&] {
         auto window =
             must(ram_block::from_descriptor<linux_calls>("window", one.descriptor, 0, page));
         must(window.free());
       });
     }},
    {"N blocks that are assigned, and asked what they are",
     "ram_block::operator= ram_block::backing ram_block::first ram_block::host ram_block::size "
     "ram_block::page_size ram_block::kind ram_block::writable ram_block::identity ram_block::data "
     "ram_block::name ram_block::seals",
     promise::each,
     [](std::uint64_t n, meter& all) {
       blocks them(n);
       for (auto& one : them) one.emplace(of_kind(memory_kind::shared));
       all.count([&] {
         for (std::uint64_t i = 1; i != n; ++i) *them[i - 1] = std::move(*them[i]);
         for (std::uint64_t i = 0; i + 1 != n; ++i) {
           ram_block const& one = *them[i];
           CHECK((one.first().value + one.host().value == one.backing().host().value));
           CHECK(one.data() == one.backing().data());
           CHECK(one.size() == one.page_size());
           CHECK(one.kind() == memory_kind::shared);
           CHECK(one.writable());
           CHECK(one.identity().inode != 0);
           CHECK(one.name() == "ram");
           CHECK(must(one.seals()) != 0);
         }
       });
     }},
    {"discard N pieces of a block", "ram_block::discard memory_backing::discard", promise::each,
     [](std::uint64_t n, meter& all) {
       discard_gate<> gate;
       const auto permit = gate.permit(discard_kind::uncoordinated);
       on_pieces(n, all, [&](ram_block& block, extent<block_offset> where) {
         return block.discard(where, permit);
       });
     }},
    {"populate N pieces of a block", "ram_block::populate memory_backing::populate", promise::each,
     [](std::uint64_t n, meter& all) {
       on_pieces(n, all, [](ram_block& block, extent<block_offset> where) {
         return block.populate(where);
       });
     }},
    {"N references to a block, and N guards",
     "memory_backing::retain memory_backing::retain_if_there memory_backing::release "
     "memory_backing::references memory_backing::referrers memory_backing::guard "
     "memory_backing::unguard",
     promise::each,
     [](std::uint64_t n, meter& all) {
       auto block = memory_of(1);
       memory_backing& memory = block.backing();
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) {
           memory.retain();
           CHECK(memory.retain_if_there());
           CHECK(memory.guard(gate_id{7}));
         }
         CHECK(memory.references() == 2 * n);
         for (std::uint64_t i = 0; i != n; ++i) {
           memory.release();
           memory.release();
           memory.unguard();
         }
       });
     }},
    {"N lent blocks of N mappings", "ram_block::borrow", promise::square,
     [](std::uint64_t n, meter& all) {
       const lent memory{2 * n};
       for (std::uint64_t i = 0; i != n; ++i)  // each its own: the next one may not be written
         REQUIRE(linux_kernel::mprotect(static_cast<std::uint64_t>(memory.at) + 2 * i * page, page,
                                        PROT_READ) == 0);
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) {
           auto one = must(ram_block::borrow<linux_calls>(
               "lent", host_address{static_cast<std::uint64_t>(memory.at) + (2 * i + 1) * page},
               page, memory_kind::private_anonymous));
         }
       });
     },
     128,
     "the kernel lists the mappings of a process from the first one on (/proc/self/maps); who has "
     "very many lends them as one block"},
};

}  // namespace

TEST_CASE("RAM blocks cost as promised") { judge_all(rows); }

}  // namespace growth_memory
