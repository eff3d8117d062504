// SPDX-License-Identifier: BSL-1.0
// The pool of huge pages, enlarged for a scope. Where that is not allowed it stays as it is. It is
// the machine's: whoever wants it, in whatever program, waits until it is as it was.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <string_view>

namespace tether_test {

class larger_pool {
 public:
  explicit larger_pool(long pages = 1) : turn_{wait_for_turn()}, before_{read()} {
    write(before_ + pages);
  }
  ~larger_pool() {
    write(before_);
    if (turn_ >= 0) ::close(turn_);
  }
  /// How many pages nobody has, or is promised.
  [[nodiscard]] static long left() { return counted("HugePages_Free:") - counted("HugePages_Rsvd:"); }

  larger_pool(larger_pool const&) = delete;
  larger_pool& operator=(larger_pool const&) = delete;

 private:
  static constexpr auto path = "/proc/sys/vm/nr_hugepages";
  static int wait_for_turn() {
    const int opened = ::open(path, O_RDONLY | O_CLOEXEC);
    if (opened >= 0) static_cast<void>(::flock(opened, LOCK_EX));
    return opened;
  }
  static long counted(std::string_view what) {
    std::ifstream file{"/proc/meminfo"};
    std::string word;
    long pages = 0;
    while (file >> word)
      if (word == what) file >> pages;
    return pages;
  }
  static long read() {
    long pages = 0;
    std::ifstream{path} >> pages;
    return pages;
  }
  static void write(long pages) { std::ofstream{path} << pages; }
  int turn_;  // a descriptor, with the lock
  long before_;
};

}  // namespace tether_test
