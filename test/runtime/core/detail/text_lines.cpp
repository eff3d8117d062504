// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/text_lines.hpp>

#include <support/faulty_kernel.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

namespace runtime_core_detail_text_lines {

using namespace tether;
using namespace tether::detail;

namespace {

/// The lines of a file with this text.
std::vector<std::string> lines_of(std::string const& text) {
  const auto file = linux_kernel::memfd_create("text", 0);
  REQUIRE(::pwrite(static_cast<int>(file), text.data(), text.size(), 0) ==
          static_cast<ssize_t>(text.size()));
  std::vector<std::string> all;
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  CHECK(for_each_line<linux_kernel>(path.c_str(), [&](std::string_view line) {
          all.emplace_back(line);
          return line != "last";
        }) == 0);
  static_cast<void>(linux_kernel::close(static_cast<int>(file)));
  return all;
}

}  // namespace

TEST_CASE("a file is read line by line, however long it is, and no further than wanted") {
  using some = std::vector<std::string>;
  CHECK(lines_of("").empty());
  CHECK(lines_of("a\n\nb\n") == some{"a", "", "b"});
  CHECK(lines_of("a\nb") == some{"a", "b"});
  CHECK(lines_of("a\nlast\nb\n") == some{"a", "last"});
  CHECK(lines_of(std::string(600, 'x') + "\ny\n") == some{std::string(511, 'x'), "y"});
  std::string many;
  for (int i = 0; i != 4000; ++i) many += std::to_string(i) + "\n";
  const auto all = lines_of(many);
  REQUIRE(all.size() == 4000);
  CHECK(all[3999] == "3999");
}

TEST_CASE("a file that cannot be opened or read is its errno, and nothing stays open") {
  const auto before = tether_test::open_descriptors();
  const auto count = [](std::string_view) { return true; };
  CHECK(for_each_line<linux_kernel>("/proc/self/nothing", count) == -ENOENT);
  for (const std::uint64_t n : {1U, 2U}) {
    const injected_fault fault{n, EIO};
    CHECK(for_each_line<faulty_kernel>("/proc/self/status", count) == -EIO);
  }
  CHECK(tether_test::open_descriptors() == before);
}

TEST_CASE("a number is taken off the front, behind blanks") {
  std::string_view text = "\t  4096 kB";
  CHECK(take_number(text, 10) == 4096);
  CHECK(text == " kB");
  CHECK(take_number(text, 10) == 0);
  CHECK(text == "kB");
  text = "7f3a-80";
  CHECK(take_number(text, 16) == 0x7f3a);
  CHECK(text == "-80");
  text = "  ";
  CHECK(take_number(text, 10) == 0);
  CHECK(text.empty());
}

}  // namespace runtime_core_detail_text_lines
