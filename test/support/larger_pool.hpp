// SPDX-License-Identifier: BSL-1.0
// The pool of huge pages, enlarged for a scope. Where that is not allowed it stays as it is.
#pragma once

#include <fstream>

namespace tether_test {

class larger_pool {
 public:
  explicit larger_pool(long pages = 1) : before_{read()} { write(before_ + pages); }
  ~larger_pool() { write(before_); }
  larger_pool(larger_pool const&) = delete;
  larger_pool& operator=(larger_pool const&) = delete;

 private:
  static constexpr auto path = "/proc/sys/vm/nr_hugepages";
  static long read() {
    long pages = 0;
    std::ifstream{path} >> pages;
    return pages;
  }
  static void write(long pages) { std::ofstream{path} << pages; }
  long before_;
};

}  // namespace tether_test
