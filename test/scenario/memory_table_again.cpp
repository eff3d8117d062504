// SPDX-License-Identifier: BSL-1.0
// A memory table is sent again (a vhost-user front end does so for every hot-plug): the same files,
// in other blocks, another order, split or joined. What a device reaches stays, so nothing is
// unmapped, nothing is mapped, and no access of a running device fails (law 26).
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace scenario_memory_table_again {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t page = 4 * KiB;
constexpr std::uint64_t size = 4 * MiB;
constexpr std::uint64_t half = size / 2;

endpoint_group const nics{"nics", {{"nic", pin_class::pins}}};

/// What a table names: a block, and where the guest sees it.
struct part {
  std::uint64_t offset;
  std::uint64_t size;
};

/// How often the process has a file mapped, by its name.
std::uint64_t maps_of(std::string const& name) {
  std::ifstream maps{"/proc/self/maps"};
  std::uint64_t found = 0;
  for (std::string line; std::getline(maps, line);)
    found += line.find("/memfd:" + name) != std::string::npos ? 1U : 0U;
  return found;
}

struct memfd {
  int descriptor = static_cast<int>(linux_kernel::memfd_create("table", MFD_CLOEXEC));
  memfd() { REQUIRE(linux_kernel::ftruncate(descriptor, size) == 0); }
  memfd(memfd const&) = delete;
  memfd& operator=(memfd const&) = delete;
  ~memfd() { ::close(descriptor); }
};

/// The blocks of one table and their places. The guest sees the file at 1 GiB.
struct table {
  std::vector<ram_block> blocks;
  std::vector<region_id> places;

  void receive(memfd const& file, std::vector<part> const& parts) {
    for (auto const& one : parts)
      blocks.push_back(
          must(ram_block::from_descriptor("part", file.descriptor, one.offset, one.size)));
  }
  void place(transaction& change, std::vector<part> const& parts) {
    for (std::size_t i = 0; i < parts.size(); ++i)
      places.push_back(
          must(change.place(region::ram(blocks[i]), guest_address{GiB + parts[i].offset})));
  }
  void remove(transaction& change) {
    for (const region_id one : std::exchange(places, {})) must(change.remove(one));
  }
  void free() {
    for (ram_block& one : blocks) must(one.free());
    blocks.clear();
  }
};

/// A device that reads and writes all the time, each page in turn. It counts what failed, and what
/// read back wrong.
template <class Device>
class busy_device {
 public:
  explicit busy_device(Device& device)
      : thread_{[this, &device] {
          for (std::uint64_t turn = 0; !finished_.load(std::memory_order_relaxed); ++turn) {
            const io_address at{GiB + turn % (size / page) * page + 128};
            std::array<std::byte, 8> sent{};
            std::array<std::byte, 8> got{};
            std::memcpy(sent.data(), &turn, sizeof turn);
            const bool moved = device.dma_write(at, sent) && device.dma_read(at, got);
            if (!moved) failed_.fetch_add(1, std::memory_order_relaxed);
            else if (sent != got) wrong_.fetch_add(1, std::memory_order_relaxed);
            turns_.store(turn + 1, std::memory_order_relaxed);
          }
        }} {}
  busy_device(busy_device const&) = delete;
  busy_device& operator=(busy_device const&) = delete;
  ~busy_device() { end(); }
  void end() {
    finished_ = true;
    if (thread_.joinable()) thread_.join();
  }
  void wait_for_more() const {
    const auto before = turns_.load();
    while (turns_.load() < before + 3) std::this_thread::yield();
  }
  [[nodiscard]] std::uint64_t failed() const { return failed_.load(); }
  [[nodiscard]] std::uint64_t wrong() const { return wrong_.load(); }

 private:
  std::atomic<bool> finished_{false};
  std::atomic<std::uint64_t> turns_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> wrong_{0};
  std::thread thread_;
};

/// One table in place of another, with a device at work; then only the second, then none.
template <class Backend>
void replace(Backend backend, std::vector<part> const& first, std::vector<part> const& second) {
  const auto descriptors_before = tether_test::descriptors().size();
  {
    const memfd file;
    address_space guest;
    discard_gate<> gate;
    journal book;
    container<recording<Backend>, inhibit_per_group> dma{
        guest, gate, recording<Backend>{book, std::move(backend)}};
    table old;
    old.receive(file, first);
    {
      auto change = guest.begin();
      old.place(change, first);
      static_cast<void>(must(change.commit()));
    }
    std::optional group{must(dma.attach(nics))};
    auto nic = must(group->open("nic"));
    table now;
    {
      busy_device busy{*nic};
      busy.wait_for_more();
      book.clear();
      now.receive(file, second);
      auto change = guest.begin();
      old.remove(change);
      now.place(change, second);
      const auto done = must(change.commit());
      CHECK(done.removed == 0);
      CHECK(done.added == 0);
      busy.wait_for_more();
      old.free();
      busy.wait_for_more();
      busy.end();
      CHECK(busy.failed() == 0);
      CHECK(busy.wrong() == 0);
    }
    CHECK(book.count(backend_call::map) == 0);
    CHECK(book.count(backend_call::unmap) == 0);
    // The device and the new blocks see the same bytes, and so does whoever else has the file.
    for (std::size_t i = 0; i < second.size(); ++i) {
      const std::array<std::byte, 4> sent{std::byte{1}, std::byte{2}, std::byte{3},
                                          static_cast<std::byte>(i)};
      must(nic->dma_write(io_address{GiB + second[i].offset}, sent));
      CHECK(std::memcmp(now.blocks[i].data(), sent.data(), sent.size()) == 0);
      std::array<std::byte, 4> theirs{};
      REQUIRE(::pread(file.descriptor, theirs.data(), theirs.size(),
                      static_cast<off_t>(second[i].offset)) == 4);
      CHECK(theirs == sent);
    }
    {
      auto change = guest.begin();
      now.remove(change);
      static_cast<void>(must(change.commit()));
    }
    CHECK(book.count(backend_call::unmap) != 0);
    CHECK(dma.usage().mappings == 0);
    must(group->detach());
    now.free();
    CHECK(maps_of("table") == 0);
  }
  CHECK(tether_test::descriptors().size() <= descriptors_before);
}

/// All ways of saying the same.
template <class Open>
void replace_in_every_way(Open open) {
  const std::vector<part> whole{{0, size}};
  const std::vector<part> halves{{0, half}, {half, half}};
  const std::vector<part> other_order{{half, half}, {0, half}};
  const std::vector<part> thirds{{0, page}, {page, half}, {page + half, half - page}};
  const std::array<std::pair<std::vector<part>, std::vector<part>>, 6> ways{
      {{whole, whole},
       {halves, halves},
       {halves, other_order},
       {whole, halves},
       {halves, whole},
       {thirds, other_order}}};
  for (std::size_t i = 0; i < ways.size(); ++i) {
    CAPTURE(i);
    auto backend = open();
    if (!backend) return tether_test::skip_because(backend.error().sentence());
    replace(std::move(*backend), ways[i].first, ways[i].second);
  }
}

}  // namespace

TEST_CASE(
    "a memory table that is sent again, in any cut and order, unmaps nothing from a software "
    "IOMMU, and no access fails") {
  replace_in_every_way([] { return result<software_iommu>{software_iommu{}}; });
}
TEST_CASE(
    "a memory table that is sent again, in any cut and order, unmaps nothing from io_uring, and no "
    "access fails") {
  replace_in_every_way([] { return io_uring_buffers::open({.slots = 64}); });
}

}  // namespace scenario_memory_table_again
