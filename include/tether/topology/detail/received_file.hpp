// SPDX-License-Identifier: BSL-1.0
// Checks a file that another process sent before it becomes guest memory: it must be a file whose
// pages can be discarded, open for reading and writing, and sealed as required. One that is open
// for reading only is good for a ROM, which is neither written nor discarded. Each refusal says
// what is wrong with it.
#pragma once

#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

namespace tether::detail {

// Source: linux/magic.h, which not every installation has.
inline constexpr std::uint64_t tmpfs_magic = 0x01021994;
inline constexpr std::uint64_t hugetlbfs_magic = 0x958458f6;

/// F_SEAL_FUTURE_WRITE of linux/fcntl.h, since 5.1.
inline constexpr unsigned seal_future_write = 0x10;

/// What the kernel says of an accepted file. Units: bytes.
struct received_file {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::uint64_t page_size = 0;  ///< the unit of discard
  bool is_hugetlb = false;
  bool writable = true;  ///< it is open for writing, too
};

/// Checks a descriptor. Requires: it is a duplicate that nobody else has, so that it cannot be
/// exchanged between a check and its use.
template <class Kernel>
class received_file_check {
 public:
  /// `required` are seals (F_SEAL_*) that must be set. Fails: `bad_descriptor`; the kernel's errno.
  [[nodiscard]] static result<received_file> of(const char* operation, int descriptor,
                                                unsigned required) noexcept {
    const error bad{operation, errc::bad_descriptor};
    struct stat status{};
    if (const auto answer = Kernel::fstat(descriptor, status); answer < 0)
      return refused(operation, answer);
    if (!S_ISREG(status.st_mode)) return failure(bad.advise("it is not a file"));
    const auto flags = Kernel::descriptor_flags(descriptor);
    if (flags < 0) return refused(operation, flags);
    const bool writable = (flags & O_ACCMODE) == O_RDWR;
    if (!writable && (flags & (O_ACCMODE | O_PATH)) != O_RDONLY)
      return failure(bad.advise("open it for reading and writing, or for a ROM for reading"));
    struct statfs system{};
    if (const auto answer = Kernel::call(SYS_fstatfs, descriptor, &system); answer < 0)
      return refused(operation, answer);
    const auto magic = static_cast<std::uint64_t>(system.f_type) & 0xffffffff;
    if (magic != tmpfs_magic && magic != hugetlbfs_magic)
      return failure(bad.advise("only tmpfs, memfd and hugetlbfs files can be discarded"));
    if (auto sealed = check_seals(operation, descriptor, required, writable); !sealed)
      return failure(sealed.error());
    // tmpfs with huge pages reports their size as the block size, yet frees single host pages.
    const bool huge = magic == hugetlbfs_magic;
    return received_file{status.st_dev,
                         status.st_ino,
                         static_cast<std::uint64_t>(status.st_size),
                         huge ? static_cast<std::uint64_t>(status.st_blksize) : Kernel::page_size(),
                         huge,
                         writable};
  }

 private:
  static auto refused(const char* operation, std::int64_t answer) noexcept {
    return failure(error::from_errno(operation, static_cast<int>(-answer)));
  }

  /// Fails if a seal forbids what is done to the file, or a required seal is missing.
  static result<void> check_seals(const char* operation, int descriptor, unsigned required,
                                  bool writable) noexcept {
    auto answer = Kernel::seals(descriptor);
    if (answer == -EINVAL) answer = 0;  // this kernel cannot seal such files
    if (answer < 0) return refused(operation, answer);
    const auto has = static_cast<unsigned>(answer);
    const error bad{operation, errc::bad_descriptor};
    if (writable && (has & F_SEAL_WRITE) != 0)
      return failure(bad.advise(
          "it is sealed against writing (F_SEAL_WRITE): for a ROM open it for reading only"));
    if (writable && (has & seal_future_write) != 0)
      return failure(
          bad.advise("it is sealed against writing (F_SEAL_FUTURE_WRITE): for a ROM open it for "
                     "reading only"));
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
};

}  // namespace tether::detail
