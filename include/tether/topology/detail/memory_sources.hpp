// SPDX-License-Identifier: BSL-1.0
// Where a RAM block's memory comes from. Each source first makes the `memory_backing`, whose
// destructor cleans up, then fills it in call by call: a failure at any call leaves nothing behind.
#pragma once

#include <tether/core/label.hpp>
#include <tether/topology/detail/borrowed_kind.hpp>
#include <tether/topology/detail/discard_method.hpp>
#include <tether/topology/detail/large_page_alignment.hpp>
#include <tether/topology/detail/mapped_memory.hpp>
#include <tether/topology/detail/memory_calls.hpp>
#include <tether/topology/detail/memory_window.hpp>
#include <tether/topology/detail/received_file.hpp>
#include <tether/topology/detail/shared_files.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/detail/exceptions.hpp>
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
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <utility>

namespace tether::detail {

/// Where the size of huge pages begins in the flags of mmap. Source: linux/memfd.h, which not every
/// installation has.
inline constexpr unsigned huge_size_shift = 26;

/// The three sources, over one kernel.
template <class Kernel>
class memory_sources {
 public:
  using window_result = result<std::shared_ptr<memory_window const>>;

  static window_result allocate(std::string_view name, std::uint64_t size, memory_kind kind,
                                std::uint64_t page_size) noexcept {
    constexpr auto what = "allocate memory";
    if (kind == memory_kind::device)
      return failure(
          error{what, errc::unsupported}.of(name).advise("borrow the device's own mapping"));
    if (kind == memory_kind::private_file)
      return failure(
          error{what, errc::unsupported}.of(name).advise("map the file and borrow that"));
    auto ready = blank(what, name, size, kind, page_size);
    if (!ready) return failure(ready.error());
    if (kind == memory_kind::shared) {
      auto made = new_file(what, std::move(*ready), size);
      const bool no_room = !made && made.error().is_errno(ENOMEM);
      return no_room ? failure(why_no_room(made.error(), size)) : std::move(made);
    }
    memory_backing& memory = **ready;

    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (kind == memory_kind::hugetlb)
      flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
              static_cast<int>(static_cast<unsigned>(std::countr_zero(memory.page_size_))
                               << huge_size_shift);
    const auto host = Kernel::mmap(size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (host < 0) {
      const error why = error::from_errno(what, static_cast<int>(-host)).of(name);
      return failure(kind == memory_kind::hugetlb ? why_no_huge_pages(why, memory.page_size_)
                     : host == -ENOMEM            ? why_no_room(why, size)
                                                  : why);
    }
    auto at = static_cast<std::uint64_t>(host);
    if (kind == memory_kind::private_anonymous)
      at = large_page_alignment<Kernel>::moved(at, size, flags);
    memory.host_ = host_address{at};
    memory.owned_ = true;
    return finish(what, std::move(*ready));
  }

  static window_result borrow(std::string_view name, host_address host, std::uint64_t size,
                              memory_kind kind, std::uint64_t page_size) noexcept {
    constexpr auto what = "borrow memory";
    const auto where = extent<host_address>::of(host, size);
    if (host.value == 0 || !where) return failure(error{what, errc::invalid_extent}.of(name));
    const bool huge = kind == memory_kind::hugetlb;
    // The look-up below finds the size of huge pages, so the default is not needed.
    auto ready =
        blank(what, name, size, kind, huge && page_size == 0 ? Kernel::page_size() : page_size);
    if (!ready) return failure(ready.error());
    memory_backing& memory = **ready;
    if (!where->aligned_to(Kernel::page_size()))
      return failure(error{what, errc::not_aligned}.at(*where).of(name).advise(
          "align it to {} bytes", Kernel::page_size()));
    memory.host_ = host;
    // Never discarded or populated, so its kind is not checked: the IOMMU's kernel judges it.
    if (kind == memory_kind::device) return finish(what, std::move(*ready));

    const auto found = mapped_memory_lookup<Kernel>::of(what, *where);
    if (!found) return failure(found.error().at(*where).of(name));
    if (auto fits = check_kind(what, kind, *found); !fits)
      return failure(fits.error().at(*where).of(name));
    memory.protection_ = found->protection;
    if (huge) {
      if (page_size != 0 && page_size != found->page_size)
        return failure(error{what, errc::wrong_kind}.at(*where).of(name).advise(
            "its pages have {} bytes", found->page_size));
      memory.page_size_ = found->page_size;
      if (!where->aligned_to(found->page_size))
        return failure(error{what, errc::not_aligned}.at(*where).of(name).advise(
            "align it to {} bytes", found->page_size));
      if (found->is_shared) memory.method_ = discard_method::remove_shared;
    }
    return finish(what, std::move(*ready));
  }

  static window_result from_descriptor(std::string_view name, int fd, std::uint64_t file_offset,
                                       std::uint64_t size, unsigned required_seals) noexcept {
    constexpr auto what = "memory from a descriptor";
    constexpr std::uint64_t furthest = std::numeric_limits<std::int64_t>::max();
    if (size == 0 || size > furthest || file_offset > furthest - size)
      return failure(error{what, errc::invalid_extent}.of(name));
    std::unique_ptr<memory_backing> fresh{new (std::nothrow)
                                              memory_backing{label{name}, memory_calls_of<Kernel>}};
    if (!fresh) return failure(error::out_of_memory(what).of(name));
    memory_backing& memory = *fresh;

    const auto own = Kernel::duplicate(fd);
    if (own == -EBADF)
      return failure(error{what, errc::bad_descriptor}.of(name).advise("it is not open"));
    if (own < 0) return refused(what, name, own);
    memory.descriptor_ = static_cast<int>(own);
    const auto file = received_file_check<Kernel>::of(what, memory.descriptor_, required_seals);
    if (!file) return failure(file.error().of(name));
    if (file_offset + size > file->size)
      return failure(
          error{what, errc::past_the_end}.of(name).advise("the file has {} byte{|s}", file->size));

    memory.kind_ = file->is_hugetlb ? memory_kind::hugetlb : memory_kind::shared;
    memory.method_ = file->writable ? discard_method::punch_hole : discard_method::refuse;
    memory.writable_ = file->writable;
    memory.protection_ = file->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    memory.page_size_ = file->page_size;
    memory.identity_ = {file->device, file->inode, 0};
    if (((size | file_offset) & (memory.page_size_ - 1)) != 0)
      return failure(error{what, errc::not_aligned}.of(name).advise(
          "size and offset must be multiples of {} bytes", memory.page_size_));
    return shared_files<Kernel>::window({what, label{name}, file_offset, size, file->size},
                                        std::move(fresh));
  }

 private:
  static window_result refused(const char* what, std::string_view name,
                               std::int64_t answer) noexcept {
    return failure(error::from_errno(what, static_cast<int>(-answer)).of(name));
  }

  [[gnu::cold]] static error why_no_huge_pages(error const& why, std::uint64_t page) noexcept {
    if (why.is_errno(ENOMEM))
      return why.advise(
          "too few huge pages of {} KiB are free: raise their number (vm.nr_hugepages, or "
          "nr_hugepages of that size in /sys/kernel/mm/hugepages)",
          page / KiB);
    return why.is_errno(EINVAL)
               ? why.advise("this kernel has no huge pages of {} KiB: see /sys/kernel/mm/hugepages",
                            page / KiB)
               : why;
  }
  /// Which limit it was: asks for the addresses alone, which need no memory.
  [[gnu::cold]] static error why_no_room(error const& why, std::uint64_t size) noexcept {
    const auto addresses =
        Kernel::mmap(size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (addresses >= 0) {
      static_cast<void>(Kernel::munmap(static_cast<std::uint64_t>(addresses), size));
      return why.advise("the host does not commit that much: see vm.overcommit_memory");
    }
    rlimit64 soft{};
    if (Kernel::call(SYS_prlimit64, 0, static_cast<int>(RLIMIT_AS), static_cast<void*>(nullptr),
                     &soft) >= 0 &&
        soft.rlim_cur != RLIM64_INFINITY) {
      return why.advise("this process's address space is limited to {} KiB (ulimit -v)",
                        soft.rlim_cur / KiB);
    }
    return why.advise("a process has no such run of free addresses: make it smaller");
  }

  /// A `memory_backing` that has no host address yet.
  static result<std::unique_ptr<memory_backing>> blank(const char* what, std::string_view name,
                                                       std::uint64_t size, memory_kind kind,
                                                       std::uint64_t page_size) noexcept {
    if (size == 0) return failure(error{what, errc::invalid_extent}.of(name));
    std::uint64_t unit = Kernel::page_size();
    if (kind == memory_kind::hugetlb && page_size == 0) {
      const auto size_of_huge = default_huge_page();
      if (size_of_huge < 0)
        return failure(error::from_errno(what, static_cast<int>(-size_of_huge))
                           .of(name)
                           .advise("does this kernel have huge pages (CONFIG_HUGETLBFS)?"));
      unit = static_cast<std::uint64_t>(size_of_huge);
    } else if (page_size != 0) {
      if (!std::has_single_bit(page_size) || page_size < unit)
        return failure(error{what, errc::not_aligned}.of(name).advise(
            "a page is a power of two, {} bytes at least", unit));
      unit = page_size;
    }
    if ((size & (unit - 1)) != 0)
      return failure(error{what, errc::not_aligned}.of(name).advise(
          "the size must be a multiple of {} bytes", unit));
    std::unique_ptr<memory_backing> fresh{new (std::nothrow)
                                              memory_backing{label{name}, memory_calls_of<Kernel>}};
    if (!fresh) return failure(error::out_of_memory(what).of(name));
    fresh->size_ = size;
    fresh->page_size_ = unit;
    fresh->kind_ = kind;
    fresh->method_ = method_of(kind);
    return fresh;
  }
  /// New shared memory. A process that is sent its descriptor can neither truncate it, which would
  /// be a SIGBUS here, nor seal it; punching holes stays possible.
  static window_result new_file(const char* what, std::unique_ptr<memory_backing> ready,
                                std::uint64_t size) noexcept {
    memory_backing& memory = *ready;
    const label name = memory.name_;
    const auto file = Kernel::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) return refused(what, name.view(), file);
    memory.descriptor_ = static_cast<int>(file);
    memory.method_ = discard_method::punch_hole;
    if (const auto answer = Kernel::ftruncate(memory.descriptor_, size); answer < 0)
      return refused(what, name.view(), answer);
    const auto sealed =
        Kernel::add_seals(memory.descriptor_, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);
    if (sealed < 0) return refused(what, name.view(), sealed);
    struct stat status{};
    if (const auto answer = Kernel::fstat(memory.descriptor_, status); answer < 0)
      return refused(what, name.view(), answer);
    memory.identity_ = {status.st_dev, status.st_ino, 0};
    return shared_files<Kernel>::window({what, name, 0, size, size, true}, std::move(ready));
  }

  /// Makes the window of memory that belongs to one block. Private memory is not inherited by a
  /// fork.
  static window_result finish(const char* what, std::unique_ptr<memory_backing> ready) noexcept {
    memory_backing& memory = *ready;
    memory.identity_ = {0, 0, memory.host_.value};
    if (memory.method_ == discard_method::drop_private ||
        memory.method_ == discard_method::replace_private) {
      if (const auto answer = Kernel::madvise(memory.host_.value, memory.size(), MADV_DONTFORK);
          answer < 0)
        return refused(what, memory.name(), answer);
    }
    const label name = memory.name_;
    TETHER_TRY {
      auto window = std::make_shared<memory_window>();
      window->size = memory.size();
      window->name = name;
      window->memory = std::move(ready);
      return window;
    }
    TETHER_CATCH(std::bad_alloc const&) {
      return failure(error::out_of_memory(what).of(name.view()));
    }
  }

  /// Bytes, or the negative errno. The block size of an empty hugetlb memfd, which takes no page of
  /// the pool.
  static std::int64_t default_huge_page() noexcept {
    const auto file = Kernel::memfd_create("tether", MFD_CLOEXEC | MFD_HUGETLB);
    if (file < 0) return file;
    struct stat status{};
    const auto answer = Kernel::fstat(static_cast<int>(file), status);
    static_cast<void>(Kernel::close(static_cast<int>(file)));
    return answer < 0 ? answer : static_cast<std::int64_t>(status.st_blksize);
  }
};

}  // namespace tether::detail
