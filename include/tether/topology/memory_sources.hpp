// SPDX-License-Identifier: BSL-1.0
// Where a RAM block's memory comes from. Each source first makes the record, which cleans up after itself,
// and then fills it in call by call: so a failure at any call leaves nothing behind.
#pragma once

#include <tether/topology/label.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <limits>
#include <memory>
#include <new>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <utility>

namespace tether::detail {

// linux/magic.h and linux/memfd.h, which not every installation has.
inline constexpr std::uint64_t tmpfs_magic = 0x01021994;
inline constexpr std::uint64_t hugetlbfs_magic = 0x958458f6;
inline constexpr unsigned huge_size_shift = 26;

/// The three sources, over one kernel.
template <class Kernel>
class memory_sources {
 public:
  using made = result<std::unique_ptr<memory_backing>>;

  static made allocate(std::string_view name, std::uint64_t size, memory_kind kind, std::uint64_t page_size) noexcept {
    constexpr auto what = "allocate memory";
    if (kind == memory_kind::device) return failure(error{what, errc::unsupported}.of(name).advise("borrow the device's own mapping"));
    auto ready = blank(what, name, size, kind, page_size);
    if (!ready) return ready;
    memory_backing& memory = **ready;

    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (kind == memory_kind::hugetlb)
      flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
              static_cast<int>(static_cast<unsigned>(std::countr_zero(memory.page_size_)) << huge_size_shift);
    if (kind == memory_kind::shared) {
      flags = MAP_SHARED;
      const auto file = Kernel::memfd_create(memory.name_.c_str(), MFD_CLOEXEC);
      if (file < 0) return refused(what, name, file);
      memory.descriptor_ = static_cast<int>(file);
      if (const auto answer = Kernel::ftruncate(memory.descriptor_, size); answer < 0) return refused(what, name, answer);
      struct stat status {};
      if (const auto answer = Kernel::fstat(memory.descriptor_, status); answer < 0) return refused(what, name, answer);
      memory.identity_ = {status.st_dev, status.st_ino, 0};
    }
    auto host = Kernel::mmap(size, PROT_READ | PROT_WRITE, flags, memory.descriptor_, 0);
    const std::uint64_t large = sizes_of_page_tables(Kernel::page_size()).largest_at(0, size);
    if (host >= 0 && kind == memory_kind::private_anonymous && !host_address{static_cast<std::uint64_t>(host)}.aligned_to(large)) {
      static_cast<void>(Kernel::munmap(static_cast<std::uint64_t>(host), size));
      host = mmap_aligned(size, flags, large);
    }
    if (host < 0) return refused(what, name, host);
    memory.owned_ = true;
    return settle(what, std::move(*ready), host_address{static_cast<std::uint64_t>(host)});
  }

  static made borrow(std::string_view name, host_address host, std::uint64_t size, memory_kind kind, std::uint64_t page_size) noexcept {
    constexpr auto what = "borrow memory";
    const auto where = extent<host_address>::of(host, size);
    if (host.value == 0 || !where) return failure(error{what, errc::invalid_extent}.of(name));
    auto ready = blank(what, name, size, kind, page_size);
    if (!ready) return ready;
    const std::uint64_t unit = kind == memory_kind::hugetlb ? (*ready)->page_size_ : Kernel::page_size();
    if (!where->aligned_to(unit)) return failure(error{what, errc::not_aligned}.at(*where).of(name).advise("align it to {} bytes", unit));
    return settle(what, std::move(*ready), host);
  }

  static made from_descriptor(std::string_view name, int fd, std::uint64_t file_offset, std::uint64_t size) noexcept {
    constexpr auto what = "memory from a descriptor";
    constexpr std::uint64_t furthest = std::numeric_limits<std::int64_t>::max();
    if (size == 0 || size > furthest || file_offset > furthest - size) return failure(error{what, errc::invalid_extent}.of(name));
    std::unique_ptr<memory_backing> fresh{new (std::nothrow) memory_backing{label{name}, memory_calls_of<Kernel>}};
    if (!fresh) return failure(error{what, std::make_error_code(std::errc::not_enough_memory)}.of(name));
    memory_backing& memory = *fresh;

    const auto own = Kernel::duplicate(fd);
    if (own == -EBADF) return failure(error{what, errc::bad_descriptor}.of(name).advise("it is not open"));
    if (own < 0) return refused(what, name, own);
    memory.descriptor_ = static_cast<int>(own);
    // Looked at through our own descriptor, so that nobody exchanges it under us.
    struct stat status {};
    if (const auto answer = Kernel::fstat(memory.descriptor_, status); answer < 0) return refused(what, name, answer);
    if (!S_ISREG(status.st_mode)) return failure(error{what, errc::bad_descriptor}.of(name).advise("it is not a file"));
    const auto flags = Kernel::descriptor_flags(memory.descriptor_);
    if (flags < 0) return refused(what, name, flags);
    if ((flags & O_ACCMODE) != O_RDWR)
      return failure(error{what, errc::bad_descriptor}.of(name).advise("open it for reading and writing"));
    struct statfs system {};
    if (const auto answer = Kernel::call(SYS_fstatfs, memory.descriptor_, &system); answer < 0) return refused(what, name, answer);
    const auto magic = static_cast<std::uint64_t>(system.f_type) & 0xffffffff;
    if (magic != tmpfs_magic && magic != hugetlbfs_magic)
      return failure(error{what, errc::bad_descriptor}.of(name).advise("only tmpfs, memfd and hugetlbfs files can be discarded"));
    if (file_offset + size > static_cast<std::uint64_t>(status.st_size))
      return failure(error{what, errc::past_the_end}.of(name).advise("the file has {} bytes", static_cast<std::uint64_t>(status.st_size)));

    memory.kind_ = magic == hugetlbfs_magic ? memory_kind::hugetlb : memory_kind::shared;
    // tmpfs with huge pages reports theirs as the block size, yet frees by the host's page.
    memory.page_size_ = magic == hugetlbfs_magic ? static_cast<std::uint64_t>(status.st_blksize) : Kernel::page_size();
    memory.size_ = size;
    memory.file_offset_ = file_offset;
    memory.identity_ = {status.st_dev, status.st_ino, file_offset};
    if (((size | file_offset) & (memory.page_size_ - 1)) != 0)
      return failure(error{what, errc::not_aligned}.of(name).advise("size and offset must be multiples of {} bytes", memory.page_size_));
    const auto host = Kernel::mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.descriptor_, file_offset);
    if (host < 0) return refused(what, name, host);
    memory.owned_ = true;
    return settle(what, std::move(fresh), host_address{static_cast<std::uint64_t>(host)});
  }

 private:
  static made refused(const char* what, std::string_view name, std::int64_t answer) noexcept {
    return failure(error::from_errno(what, static_cast<int>(-answer)).of(name));
  }

  /// The record of memory that has no host address yet.
  static made blank(const char* what, std::string_view name, std::uint64_t size, memory_kind kind, std::uint64_t page_size) noexcept {
    if (size == 0) return failure(error{what, errc::invalid_extent}.of(name));
    std::uint64_t unit = Kernel::page_size();
    if (kind == memory_kind::hugetlb && page_size == 0) {
      const auto size_of_huge = default_huge_page();
      if (size_of_huge < 0) return refused(what, name, size_of_huge);
      unit = static_cast<std::uint64_t>(size_of_huge);
    } else if (page_size != 0) {
      if (!std::has_single_bit(page_size) || page_size < unit)
        return failure(error{what, errc::not_aligned}.of(name).advise("a page is a power of two, {} bytes at least", unit));
      unit = page_size;
    }
    if ((size & (unit - 1)) != 0)
      return failure(error{what, errc::not_aligned}.of(name).advise("the size must be a multiple of {} bytes", unit));
    std::unique_ptr<memory_backing> fresh{new (std::nothrow) memory_backing{label{name}, memory_calls_of<Kernel>}};
    if (!fresh) return failure(error{what, std::make_error_code(std::errc::not_enough_memory)}.of(name));
    fresh->size_ = size;
    fresh->page_size_ = unit;
    fresh->kind_ = kind;
    return fresh;
  }

  /// Private memory on a multiple of `large`, so that CPU and IOMMU can map it in large pages: takes more and gives back
  /// what is over on both sides.
  static std::int64_t mmap_aligned(std::uint64_t size, int flags, std::uint64_t large) noexcept {
    const auto answer = Kernel::mmap(size + large, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (answer < 0) return answer;
    const auto from = static_cast<std::uint64_t>(answer);
    const std::uint64_t host = round_up(from, large);
    if (host != from) static_cast<void>(Kernel::munmap(from, host - from));
    if (from + large != host) static_cast<void>(Kernel::munmap(host + size, from + large - host));
    return static_cast<std::int64_t>(host);
  }

  /// The memory is there: how it is discarded, and that a fork does not inherit it.
  static made settle(const char* what, std::unique_ptr<memory_backing> ready, host_address host) noexcept {
    memory_backing& memory = *ready;
    memory.host_ = host;
    const bool has_file = memory.descriptor_ >= 0;
    if (!has_file) memory.identity_ = {0, 0, host.value};
    switch (memory.kind_) {
      case memory_kind::private_anonymous: memory.method_ = discard_method::forget_private; break;
      case memory_kind::shared: memory.method_ = has_file ? discard_method::punch_hole : discard_method::remove_shared; break;
      case memory_kind::hugetlb: memory.method_ = has_file ? discard_method::punch_hole : discard_method::forget_private; break;
      case memory_kind::device: memory.method_ = discard_method::refuse; break;
    }
    if (memory.method_ == discard_method::forget_private) {
      if (const auto answer = Kernel::madvise(host.value, memory.size_, MADV_DONTFORK); answer < 0)
        return refused(what, memory.name(), answer);
    }
    return ready;
  }

  /// Bytes, or the negative errno. A file of huge pages tells their size, and needs none of them for it.
  static std::int64_t default_huge_page() noexcept {
    const auto file = Kernel::memfd_create("tether", MFD_CLOEXEC | MFD_HUGETLB);
    if (file < 0) return file;
    struct stat status {};
    const auto answer = Kernel::fstat(static_cast<int>(file), status);
    static_cast<void>(Kernel::close(static_cast<int>(file)));
    return answer < 0 ? answer : static_cast<std::int64_t>(status.st_blksize);
  }
};

}  // namespace tether::detail
