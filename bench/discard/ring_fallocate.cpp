// SPDX-License-Identifier: BSL-1.0
// io_uring: IORING_OP_FALLOCATE for each page, all of a request submitted and waited for in one
// system call. By raw system calls.
#include <discard/memfd.hpp>

#include <atomic>
#include <linux/io_uring.h>

namespace {

class ring {
 public:
  ring() {
    io_uring_params about{};
    number_ = static_cast<int>(::syscall(SYS_io_uring_setup, discard::request, &about));
    discard::expect(number_ >= 0, "io_uring_setup: ");
    const std::size_t bytes = about.cq_off.cqes + about.cq_entries * sizeof(io_uring_cqe);
    auto* const rings = static_cast<std::byte*>(map(bytes, IORING_OFF_SQ_RING));
    at_ = static_cast<io_uring_sqe*>(map(about.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    const auto word = [&](std::uint32_t offset) {
      return reinterpret_cast<std::uint32_t*>(rings + offset);
    };
    tail_ = word(about.sq_off.tail);
    which_ = word(about.sq_off.array);
    mask_ = *word(about.sq_off.ring_mask);
    done_head_ = word(about.cq_off.head);
    done_tail_ = word(about.cq_off.tail);
    done_mask_ = *word(about.cq_off.ring_mask);
    done_ = reinterpret_cast<io_uring_cqe*>(rings + about.cq_off.cqes);
  }
  ring(ring const&) = delete;
  ring& operator=(ring const&) = delete;
  ~ring() { ::close(number_); }  // the two mappings stay until the program ends

  [[gnu::noinline]] void give(discard::subject const& of, std::span<std::uint32_t const> numbers) {
    std::uint32_t tail = *tail_;
    for (const std::uint32_t one : numbers) {
      const std::uint32_t slot = tail++ & mask_;
      at_[slot] = {};
      at_[slot].opcode = IORING_OP_FALLOCATE;
      at_[slot].fd = of.file();
      at_[slot].off = one * discard::page;
      at_[slot].addr = discard::page;  // the length
      at_[slot].len = discard::punch;  // the mode
      which_[slot] = slot;
    }
    std::atomic_ref{*tail_}.store(tail, std::memory_order_release);
    const auto count = static_cast<unsigned>(numbers.size());
    discard::expect(::syscall(SYS_io_uring_enter, number_, count, count, IORING_ENTER_GETEVENTS,
                              nullptr, 0) == static_cast<long>(count),
                    "io_uring_enter: ");
    std::uint32_t head = *done_head_;
    const std::uint32_t end = std::atomic_ref{*done_tail_}.load(std::memory_order_acquire);
    if (end - head != count) throw bench::cannot_run{"io_uring: not all have ended"};
    for (; head != end; ++head)
      if (done_[head & done_mask_].res != 0) throw bench::cannot_run{"io_uring: a punch failed"};
    std::atomic_ref{*done_head_}.store(head, std::memory_order_release);
  }

 private:
  [[nodiscard]] void* map(std::size_t bytes, std::uint64_t offset) const {
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                            number_, static_cast<off_t>(offset));
    discard::expect(at != MAP_FAILED, "mmap of io_uring: ");
    return at;
  }

  int number_;
  io_uring_sqe* at_;
  std::uint32_t* tail_;
  std::uint32_t* which_;
  std::uint32_t mask_;
  std::uint32_t* done_head_;
  std::uint32_t* done_tail_;
  std::uint32_t done_mask_;
  io_uring_cqe* done_;
};

// The kernel punches in threads of its own, whose time cannot be told from a busy thread's.
const bench::side<discard::subject> entered{
    "io_uring's fallocate, 256 at once", [](discard::subject& of) -> bench::sample {
      if (!of.alone) return {};
      return discard::only_of_memfd<ring>(of, CLOCK_PROCESS_CPUTIME_ID);
    }};

}  // namespace
