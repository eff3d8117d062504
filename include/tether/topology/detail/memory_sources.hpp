// SPDX-License-Identifier: BSL-1.0
// Where a RAM block's memory comes from. Each source first makes the `memory_backing`, whose
// destructor cleans up, then fills it in call by call: a failure at any call leaves nothing behind.
#pragma once

#include <tether/core/label.hpp>
#include <tether/topology/detail/mapped_memory.hpp>
#include <tether/topology/detail/memory_window.hpp>
#include <tether/topology/detail/shared_files.hpp>
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

// From linux/magic.h and linux/memfd.h, which not every installation has.
inline constexpr std::uint64_t tmpfs_magic = 0x01021994;
inline constexpr std::uint64_t hugetlbfs_magic = 0x958458f6;
inline constexpr unsigned huge_size_shift = 26;

/// F_SEAL_FUTURE_WRITE of linux/fcntl.h, since 5.1.
inline constexpr unsigned seal_future_write = 0x10;

/// The three sources, over one kernel.
template <class Kernel>
class memory_sources {
 public:
  using made = result<std::shared_ptr<memory_window const>>;

  static made allocate(std::string_view name, std::uint64_t size, memory_kind kind,
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
    if (kind == memory_kind::shared) return new_file(what, std::move(*ready), size);
    memory_backing& memory = **ready;

    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (kind == memory_kind::hugetlb)
      flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
              static_cast<int>(static_cast<unsigned>(std::countr_zero(memory.page_size_))
                               << huge_size_shift);
    auto host = Kernel::mmap(size, PROT_READ | PROT_WRITE, flags, -1, 0);
    const std::uint64_t large = sizes_of_page_tables(Kernel::page_size()).largest_at(0, size);
    if (host >= 0 && kind == memory_kind::private_anonymous &&
        !host_address{static_cast<std::uint64_t>(host)}.aligned_to(large)) {
      static_cast<void>(Kernel::munmap(static_cast<std::uint64_t>(host), size));
      host = mmap_aligned(size, flags, large);
    }
    if (host < 0) return refused(what, name, host);
    memory.host_ = host_address{static_cast<std::uint64_t>(host)};
    memory.owned_ = true;
    return finish(what, std::move(*ready));
  }

  static made borrow(std::string_view name, host_address host, std::uint64_t size, memory_kind kind,
                     std::uint64_t page_size) noexcept {
    constexpr auto what = "borrow memory";
    const auto where = extent<host_address>::of(host, size);
    if (host.value == 0 || !where) return failure(error{what, errc::invalid_extent}.of(name));
    const bool huge = kind == memory_kind::hugetlb;
    // The look-up below tells the size of huge pages, so the default is not needed.
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
    if (auto fits = must_be(what, kind, *found); !fits)
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

  static made from_descriptor(std::string_view name, int fd, std::uint64_t file_offset,
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
    // Checked through our own descriptor, so that it cannot be exchanged meanwhile.
    struct stat status{};
    if (const auto answer = Kernel::fstat(memory.descriptor_, status); answer < 0)
      return refused(what, name, answer);
    if (!S_ISREG(status.st_mode))
      return failure(error{what, errc::bad_descriptor}.of(name).advise("it is not a file"));
    const auto flags = Kernel::descriptor_flags(memory.descriptor_);
    if (flags < 0) return refused(what, name, flags);
    if ((flags & O_ACCMODE) != O_RDWR)
      return failure(
          error{what, errc::bad_descriptor}.of(name).advise("open it for reading and writing"));
    struct statfs system{};
    if (const auto answer = Kernel::call(SYS_fstatfs, memory.descriptor_, &system); answer < 0)
      return refused(what, name, answer);
    const auto magic = static_cast<std::uint64_t>(system.f_type) & 0xffffffff;
    if (magic != tmpfs_magic && magic != hugetlbfs_magic)
      return failure(error{what, errc::bad_descriptor}.of(name).advise(
          "only tmpfs, memfd and hugetlbfs files can be discarded"));
    if (auto sealed = check_seals(what, memory.descriptor_, required_seals); !sealed)
      return failure(sealed.error().of(name));
    const auto file_size = static_cast<std::uint64_t>(status.st_size);
    if (file_offset + size > file_size)
      return failure(
          error{what, errc::past_the_end}.of(name).advise("the file has {} bytes", file_size));

    memory.kind_ = magic == hugetlbfs_magic ? memory_kind::hugetlb : memory_kind::shared;
    memory.method_ = discard_method::punch_hole;
    // tmpfs with huge pages reports their size as the block size, yet frees single host pages.
    memory.page_size_ = magic == hugetlbfs_magic ? static_cast<std::uint64_t>(status.st_blksize)
                                                 : Kernel::page_size();
    memory.identity_ = {status.st_dev, status.st_ino, 0};
    if (((size | file_offset) & (memory.page_size_ - 1)) != 0)
      return failure(error{what, errc::not_aligned}.of(name).advise(
          "size and offset must be multiples of {} bytes", memory.page_size_));
    return shared_files<Kernel>::window({what, label{name}, file_offset, size, file_size},
                                        std::move(fresh));
  }

 private:
  static made refused(const char* what, std::string_view name, std::int64_t answer) noexcept {
    return failure(error::from_errno(what, static_cast<int>(-answer)).of(name));
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
        return failure(error::from_errno(what, static_cast<int>(-size_of_huge)).of(name));
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
  /// For memory without a file of its own.
  static discard_method method_of(memory_kind kind) noexcept {
    switch (kind) {
      case memory_kind::private_anonymous: return discard_method::forget_private;
      case memory_kind::private_file: return discard_method::replace_private;
      case memory_kind::shared: return discard_method::remove_shared;
      case memory_kind::hugetlb: return discard_method::forget_private;
      case memory_kind::device: break;
    }
    return discard_method::refuse;
  }

  /// New shared memory. A process that is sent its descriptor cannot truncate it under us (SIGBUS),
  /// nor seal it; punching holes stays possible.
  static made new_file(const char* what, std::unique_ptr<memory_backing> ready,
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
    return shared_files<Kernel>::window({what, name, 0, size, size}, std::move(ready));
  }

  /// Checks that no seal forbids what we do to the file, and that no required seal is missing.
  static result<void> check_seals(const char* what, int descriptor, unsigned required) noexcept {
    auto answer = Kernel::seals(descriptor);
    if (answer == -EINVAL) answer = 0;  // this kernel cannot seal such files
    if (answer < 0) return failure(error::from_errno(what, static_cast<int>(-answer)));
    const auto has = static_cast<unsigned>(answer);
    const error bad{what, errc::bad_descriptor};
    if ((has & F_SEAL_WRITE) != 0)
      return failure(bad.advise("it is sealed against writing (F_SEAL_WRITE)"));
    if ((has & seal_future_write) != 0)
      return failure(bad.advise("it is sealed against writing (F_SEAL_FUTURE_WRITE)"));
    const unsigned missing = required & ~has;
    if ((missing & F_SEAL_SHRINK) != 0)
      return failure(
          bad.advise("F_SEAL_SHRINK is missing: who else has the file could cut it short"));
    if ((missing & F_SEAL_GROW) != 0)
      return failure(
          bad.advise("F_SEAL_GROW is missing: who else has the file could make it larger"));
    if ((missing & F_SEAL_SEAL) != 0)
      return failure(
          bad.advise("F_SEAL_SEAL is missing: who else has the file could seal it further"));
    if (missing != 0) return failure(bad.advise("the seals {} (F_SEAL_*) are missing", missing));
    return {};
  }

  /// Checks that borrowed memory is of the kind it was said to be; else the error says what it is.
  static result<void> must_be(const char* what, memory_kind kind,
                              mapped_memory const& found) noexcept {
    const error wrong{what, errc::wrong_kind};
    switch (found.what) {
      case mapped_as::nothing:
        return failure(error{what, errc::not_mapped}.advise("all of it must be mapped"));
      case mapped_as::mixed:
        return failure(wrong.advise("its parts are of several kinds: borrow each by itself"));
      case mapped_as::private_anonymous:
        // A private file mapping that was discarded, perhaps as a whole, looks the same.
        if (kind == memory_kind::private_anonymous || kind == memory_kind::private_file) break;
        return failure(
            wrong.advise("it is private anonymous memory: name memory_kind::private_anonymous"));
      case mapped_as::private_file:
        if (kind != memory_kind::private_file)
          return failure(wrong.advise(
              "it is, or part of it, a private mapping of a file: name memory_kind::private_file"));
        break;
      case mapped_as::shared:
        if (kind != memory_kind::shared)
          return failure(wrong.advise("it is shared memory: name memory_kind::shared"));
        break;
      case mapped_as::huge:
        if (kind != memory_kind::hugetlb)
          return failure(wrong.advise("it has huge pages of {} bytes: name memory_kind::hugetlb",
                                      found.page_size));
        break;
      case mapped_as::huge_private_file:
        return failure(error{what, errc::unsupported}.advise(
            "it is a private mapping of a file of huge pages: map it shared"));
      case mapped_as::device:
        return failure(wrong.advise("it is a device's memory: name memory_kind::device"));
    }
    if (kind == memory_kind::private_file && !found.one_protection)
      return failure(error{what, errc::unsupported}.advise(
          "its parts have several protections: give them the same, or borrow each by itself"));
    return {};
  }

  /// Maps private memory aligned to `large`, so that CPU and IOMMU can use large pages: maps more,
  /// then unmaps the excess on both sides.
  static std::int64_t mmap_aligned(std::uint64_t size, int flags, std::uint64_t large) noexcept {
    const auto answer = Kernel::mmap(size + large, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (answer < 0) return answer;
    const auto from = static_cast<std::uint64_t>(answer);
    const std::uint64_t host = round_up(from, large);
    if (host != from) static_cast<void>(Kernel::munmap(from, host - from));
    if (from + large != host) static_cast<void>(Kernel::munmap(host + size, from + large - host));
    return static_cast<std::int64_t>(host);
  }

  /// Finishes memory that is all one block's: a fork does not inherit it if it is private.
  static made finish(const char* what, std::unique_ptr<memory_backing> ready) noexcept {
    memory_backing& memory = *ready;
    memory.identity_ = {0, 0, memory.host_.value};
    if (memory.method_ == discard_method::forget_private ||
        memory.method_ == discard_method::replace_private) {
      if (const auto answer = Kernel::madvise(memory.host_.value, memory.size(), MADV_DONTFORK);
          answer < 0)
        return refused(what, memory.name(), answer);
    }
    const label name = memory.name_;
    try {
      auto window = std::make_shared<memory_window>();
      window->size = memory.size();
      window->name = name;
      window->memory = std::move(ready);
      return window;
    } catch (std::bad_alloc const&) {
      return failure(error::out_of_memory(what).of(name.view()));
    }
  }

  /// Bytes, or the negative errno. Asks an empty hugetlb memfd, which takes no page of the pool.
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
