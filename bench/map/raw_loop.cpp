// SPDX-License-Identifier: BSL-1.0
// The same system calls in a loop, and nothing else.
#include <map/map.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <linux/io_uring.h>
#include <memory>
#include <string>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <system_error>
#include <unistd.h>

namespace {

long checked(long answer) {
  if (answer < 0) throw bench::cannot_run{"io_uring: " + std::generic_category().message(errno)};
  return answer;
}

class ring {
 public:
  ring() {
    io_uring_params asked{};
    number_ = static_cast<int>(checked(::syscall(SYS_io_uring_setup, 1, &asked)));
    io_uring_rsrc_register table{};
    table.nr = 16'384;
    table.flags = IORING_RSRC_REGISTER_SPARSE;
    checked(
        ::syscall(SYS_io_uring_register, number_, IORING_REGISTER_BUFFERS2, &table, sizeof table));
  }
  ring(ring const&) = delete;
  ring& operator=(ring const&) = delete;
  ~ring() { ::close(number_); }

  [[gnu::noinline]] void set(std::byte* memory, std::uint64_t bytes, std::uint64_t block) const {
    for (std::uint64_t at = 0; at != bytes; at += block)
      update(static_cast<std::uint32_t>(at / block), {memory + at, block});
  }
  void clear(std::uint64_t slots) const {
    for (std::uint32_t slot = 0; slot != slots; ++slot) update(slot, {nullptr, 0});
  }

 private:
  void update(std::uint32_t slot, iovec buffer) const {
    io_uring_rsrc_update2 change{};
    change.offset = slot;
    change.data = reinterpret_cast<std::uintptr_t>(&buffer);
    change.nr = 1;
    checked(::syscall(SYS_io_uring_register, number_, IORING_REGISTER_BUFFERS_UPDATE, &change,
                      sizeof change));
  }

  int number_ = -1;
};

const bench::side<map::subject> entered{"raw loop", [](map::subject& of) -> bench::sample {
                                          return [&of, own = std::make_shared<ring>()] {
                                            const double took = bench::nanoseconds([&] {
                                              own->set(of.ram.data(), map::bytes, of.block);
                                            });
                                            own->clear(map::bytes / of.block);
                                            return took * map::a_gib;
                                          };
                                        }};

}  // namespace
