// SPDX-License-Identifier: BSL-1.0
// How sysfs is read: by plain calls instead of <filesystem> and <fstream>, which cost everyone who
// includes a VFIO backend a third of a second.
#pragma once

#include <tether/version.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace tether::detail {

/// What follows the last slash: all of it if there is none.
[[nodiscard]] inline std::string last_part(std::string_view path) {
  return std::string{path.substr(path.rfind('/') + 1)};
}

/// Whether it names an entry of a folder, and no other place.
[[nodiscard]] inline bool is_name(std::string_view text) noexcept {
  return !text.empty() && text != "." && text != ".." && text.find('/') == std::string_view::npos;
}

/// Whether something is at the end of `path`, symbolic links followed.
[[nodiscard]] inline bool is_there(std::string const& path) noexcept {
  struct stat node{};
  return ::stat(path.c_str(), &node) == 0;
}

/// "major:minor" of a character device; empty for anything else.
[[nodiscard]] inline std::string node_number(struct stat const& node) {
  return S_ISCHR(node.st_mode)
             ? std::to_string(major(node.st_rdev)) + ":" + std::to_string(minor(node.st_rdev))
             : std::string{};
}

/// The name of what the symbolic link `link` points to; empty if it cannot be read.
[[nodiscard]] inline std::string target_name(std::string const& link) {
  std::array<char, 4096> target{};  // what a symbolic link of Linux may hold
  const auto size = ::readlink(link.c_str(), target.data(), target.size());
  return size < 0 ? std::string{} : last_part({target.data(), static_cast<std::size_t>(size)});
}

/// Calls `visit(std::string_view)` for each name in `folder`, in no special order, until it answers
/// false. For none if it cannot be read.
template <class Visit>
void for_each_name(std::string const& folder, Visit visit) {
  struct open_folder {
    explicit open_folder(DIR* from) noexcept : stream{from} {}
    open_folder(open_folder const&) = delete;
    open_folder& operator=(open_folder const&) = delete;
    ~open_folder() {
      if (stream != nullptr) ::closedir(stream);
    }
    DIR* stream;
  };
  const open_folder opened{::opendir(folder.c_str())};
  if (opened.stream == nullptr) return;
  while (dirent const* const entry = ::readdir(opened.stream)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && !visit(name)) return;
  }
}

/// Whether there is anything in `folder`.
[[nodiscard]] inline bool any_name_in(std::string const& folder) {
  bool any = false;
  for_each_name(folder, [&](std::string_view) { return !(any = true); });
  return any;
}

/// The beginning of a file's text, up to the first blank or line's end, 63 bytes at most; empty if
/// it cannot be read.
[[nodiscard]] inline std::string first_word_in(std::string const& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  std::array<char, 64> text{};
  const auto size = ::read(file, text.data(), text.size() - 1);
  static_cast<void>(::close(file));
  const std::string_view all{text.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
  return std::string{all.substr(0, all.find_first_of(" \t\n"))};
}

/// The number that a file begins with, or `otherwise` if it cannot be read.
[[nodiscard]] inline std::uint64_t number_in(std::string const& path,
                                             std::uint64_t otherwise) noexcept {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return otherwise;
  std::array<char, 32> text{};
  const auto size = ::read(file, text.data(), text.size() - 1);
  static_cast<void>(::close(file));
  char* end = text.data();
  errno = 0;
  const std::uint64_t number = size > 0 ? std::strtoull(text.data(), &end, 10) : 0;
  return end == text.data() || errno != 0 ? otherwise : number;
}

/// Whether a device with this driver, or with none (empty), does not keep its group from being
/// viable, and is none that VFIO opens: a PCIe port's driver, and the one that does nothing.
[[nodiscard]] inline bool leaves_device_unused(std::string_view driver) noexcept {
  return driver.empty() || driver == "pcieport" || driver == "pci-stub";
}

}  // namespace tether::detail
