// SPDX-License-Identifier: BSL-1.0
// What this process has mapped at an address, according to the kernel, so that borrowed memory is
// discarded by what it is, not by what it was said to be. /proc/thread-self/maps says most of it;
// only smaps says whether a file's pages are huge or a device's. Every entry of smaps costs a
// page-table walk: it is read only where maps does not decide, and no further than needed.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace tether::detail {

/// The kind of a mapping, as discards see it. `mixed`: no single method discards all of it.
enum class mapped_as : std::uint8_t {
  nothing,
  private_anonymous,
  private_file,
  shared,
  huge,
  huge_private_file,
  device,
  mixed
};

/// What was found for a whole extent.
struct mapped_memory {
  mapped_as what = mapped_as::nothing;
  bool is_shared = false;
  bool one_protection = true;
  int protection = PROT_NONE;   ///< PROT_*, of the first part
  std::uint64_t page_size = 0;  ///< bytes; 0 if smaps was not read
};

/// Reads a file of /proc line by line. Lines that are too long are truncated.
template <class Kernel>
class proc_lines {
 public:
  explicit proc_lines(const char* path) noexcept
      : descriptor_{Kernel::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)},
        failed_{descriptor_ < 0 ? descriptor_ : 0} {}
  proc_lines(proc_lines const&) = delete;
  proc_lines& operator=(proc_lines const&) = delete;
  ~proc_lines() {
    if (descriptor_ >= 0) static_cast<void>(Kernel::close(static_cast<int>(descriptor_)));
  }

  /// The next line, valid until the next call. Empty at the end, and after a failure.
  [[nodiscard]] std::string_view next() noexcept {
    std::size_t length = 0;
    for (;;) {
      if (at_ == end_ && !fill()) return {};
      const char one = read_[at_++];
      if (one == '\n') return {line_.data(), length};
      if (length < line_.size()) line_[length++] = one;
    }
  }
  /// The negative errno of the call that failed, or 0.
  [[nodiscard]] std::int64_t failed() const noexcept { return failed_; }

 private:
  bool fill() noexcept {
    if (failed_ < 0) return false;
    const auto answer =
        Kernel::call(SYS_read, static_cast<int>(descriptor_), read_.data(), read_.size());
    if (answer < 0) failed_ = answer;
    at_ = 0;
    end_ = answer > 0 ? static_cast<std::size_t>(answer) : 0;
    return end_ != 0;
  }

  std::int64_t descriptor_;
  std::int64_t failed_;
  std::size_t at_ = 0;
  std::size_t end_ = 0;
  std::array<char, 4096> read_{};
  std::array<char, 256> line_{};
};

/// One entry of maps or smaps, and the kind found for it. `path` lives as long as the line.
struct map_entry {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  int protection = PROT_NONE;
  bool is_shared = false;
  std::uint64_t major = 0;
  std::uint64_t inode = 0;
  std::string_view path{};
  mapped_as what = mapped_as::nothing;
  std::uint64_t page_size = 0;  ///< bytes, from smaps only

  /// Source: proc_pid_maps(5): "first-end rwxp offset major:minor inode path", numbers in
  /// hexadecimal but the inode.
  [[nodiscard]] static bool read(std::string_view line, map_entry& into) noexcept {
    map_entry one;
    std::uint64_t ignored = 0;
    if (!number(line, 16, one.first) || !skip(line, '-') || !number(line, 16, one.end) ||
        !skip(line, ' ') || line.size() < 5)
      return false;
    one.protection = (line[0] == 'r' ? PROT_READ : 0) | (line[1] == 'w' ? PROT_WRITE : 0) |
                     (line[2] == 'x' ? PROT_EXEC : 0);
    one.is_shared = line[3] == 's';
    line.remove_prefix(4);
    if (!skip(line, ' ') || !number(line, 16, ignored) || !skip(line, ' ') ||
        !number(line, 16, one.major) || !skip(line, ':'))
      return false;
    if (!number(line, 16, ignored) || !skip(line, ' ') || !number(line, 10, one.inode))
      return false;
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    one.path = line;
    into = one;
    return true;
  }
  [[nodiscard]] static bool number(std::string_view& text, unsigned base,
                                   std::uint64_t& into) noexcept {
    std::size_t digits = 0;
    for (into = 0; digits < text.size(); ++digits) {
      const char c = text[digits];
      const int value = c >= '0' && c <= '9'                 ? c - '0'
                        : base == 16 && c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                             : -1;
      if (value < 0) break;
      into = into * base + static_cast<unsigned>(value);
    }
    text.remove_prefix(digits);
    return digits != 0;
  }

 private:
  static bool skip(std::string_view& text, char expected) noexcept {
    if (text.empty() || text.front() != expected) return false;
    text.remove_prefix(1);
    return true;
  }
};

/// Looks a whole extent up. Concurrent mappings elsewhere do not matter.
template <class Kernel>
class mapped_memory_lookup {
 public:
  /// Fails: the kernel's errno, with the file of /proc that could not be read.
  [[nodiscard]] static result<mapped_memory> of(const char* operation,
                                                extent<host_address> where) noexcept {
    // `self` shows nothing once the first thread has ended
    constexpr auto maps = "/proc/thread-self/maps";
    constexpr auto smaps = "/proc/thread-self/smaps";
    mapped_memory_lookup quick{where};
    if (const auto answer = quick.read(maps); answer < 0)
      return failure(error::from_errno(operation, static_cast<int>(-answer))
                         .advise("/proc/thread-self/maps could not be read, which tells its kind"));
    if (!quick.undecided_) return quick.found_;
    mapped_memory_lookup close{where};
    if (const auto answer = close.read(smaps); answer < 0)
      return failure(error::from_errno(operation, static_cast<int>(-answer))
                         .advise("/proc/thread-self/smaps, which tells its kind, cannot be read"));
    return close.found_;
  }

 private:
  explicit mapped_memory_lookup(extent<host_address> where) noexcept
      : where_{where}, reached_{where.first.value} {}

  /// 0, or the negative errno.
  std::int64_t read(const char* path) noexcept {
    proc_lines<Kernel> lines{path};
    map_entry entry;
    bool inside = false;
    for (auto line = lines.next(); !line.empty(); line = lines.next()) {
      map_entry next;
      if (map_entry::read(line, next)) {
        if (inside) add(entry);
        inside = next.end > where_.first.value && next.first <= where_.last.value;
        if (next.first > where_.last.value) break;
        entry = next;
        entry.what = inside ? kind_by_name(next) : mapped_as::nothing;
      } else if (inside && line.starts_with("KernelPageSize:")) {
        line.remove_prefix(std::min(line.find_first_of("0123456789"), line.size()));
        static_cast<void>(map_entry::number(line, 10, entry.page_size));
        entry.page_size *= KiB;
      } else if (inside && line.starts_with("VmFlags:")) {  // the last line of a mapping
        entry.what = kind_by_flags(entry, line);
        if (entry.end > where_.last.value) break;
      }
    }
    if (lines.failed() < 0) return lines.failed();
    if (inside) add(entry);
    if (reached_ <= where_.last.value) found_.what = mapped_as::nothing;
    return 0;
  }

  /// The kind as far as maps says it. A file on a disk has neither huge pages nor a device's.
  mapped_as kind_by_name(map_entry const& one) noexcept {
    if (one.inode == 0) return one.is_shared ? mapped_as::device : mapped_as::private_anonymous;
    // MAP_SHARED | MAP_ANONYMOUS
    if (one.path == "/dev/zero (deleted)" && one.is_shared) return mapped_as::shared;
    if (one.path == "/dev/zero" && !one.is_shared) return mapped_as::private_anonymous;
    // of a VFIO device, an io_uring
    if (one.path.starts_with("anon_inode:")) return mapped_as::device;
    undecided_ = undecided_ || one.major == 0;
    if (one.path == "/anon_hugepage (deleted)") return mapped_as::huge;
    return one.is_shared ? mapped_as::shared : mapped_as::private_file;
  }
  /// The kind by VmFlags: `ht` huge pages, `pf` bare page frames, `io` a device's registers.
  static mapped_as kind_by_flags(map_entry const& one, std::string_view flags) noexcept {
    const auto has = [&](const char* flag) { return flags.find(flag) != std::string_view::npos; };
    if (has(" ht"))
      return one.what == mapped_as::private_file ? mapped_as::huge_private_file : mapped_as::huge;
    // Device memory (DAX) has larger pages that are not from the hugetlb pool.
    if (has(" pf") || has(" io") || one.page_size > Kernel::page_size()) return mapped_as::device;
    return one.what;
  }
  /// Adds one more part, if it continues where the last one ended.
  void add(map_entry const& one) noexcept {
    if (one.first > reached_) return;
    const bool is_first = reached_ == where_.first.value;
    reached_ = one.end;
    if (is_first) {
      found_ = {one.what, one.is_shared, true, one.protection, one.page_size};
      return;
    }
    found_.one_protection = found_.one_protection && found_.protection == one.protection;
    const auto is_private = [](mapped_as kind) {
      return kind == mapped_as::private_anonymous || kind == mapped_as::private_file;
    };
    // A private file mapping is anonymous where parts of it were discarded.
    if (is_private(found_.what) && is_private(one.what))
      found_.what = std::max(found_.what, one.what);
    else if (found_.what != one.what || found_.is_shared != one.is_shared ||
             found_.page_size != one.page_size)
      found_.what = mapped_as::mixed;
  }

  extent<host_address> where_;
  std::uint64_t reached_;
  mapped_memory found_{};
  bool undecided_ = false;
};

}  // namespace tether::detail
