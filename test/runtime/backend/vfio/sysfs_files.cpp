// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/sysfs_files.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace runtime_backend_vfio_sysfs_files {

using namespace tether::detail;

namespace {

struct folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("sysfs_files_" + std::to_string(::getpid()));
  folder() { std::filesystem::create_directory(path); }
  folder(folder const&) = delete;
  folder& operator=(folder const&) = delete;
  ~folder() { std::filesystem::remove_all(path); }
  [[nodiscard]] std::string at(std::string_view name) const { return (path / name).string(); }
  void write(std::string_view name, std::string_view text) const {
    std::ofstream{at(name)} << text;
  }
};

}  // namespace

TEST_CASE("the last part of a path") {
  CHECK(last_part("/dev/vfio/12") == "12");
  CHECK(last_part("12") == "12");
  CHECK(last_part("/dev/").empty());
}

TEST_CASE("what is there, and where a link points") {
  const folder here;
  here.write("file", "x");
  std::filesystem::create_symlink("../../bus/pci", here.path / "subsystem");
  std::filesystem::create_symlink("file", here.path / "to_file");
  CHECK(is_there(here.at("file")));
  CHECK(is_there(here.at("to_file")));
  CHECK_FALSE(is_there(here.at("subsystem")));
  CHECK_FALSE(is_there(here.at("other")));
  CHECK(target_name(here.at("subsystem")) == "pci");
  CHECK(target_name(here.at("to_file")) == "file");
  CHECK(target_name(here.at("file")).empty());
  CHECK(target_name(here.at("other")).empty());
}

TEST_CASE("the names in a folder, until one is enough") {
  const folder here;
  for (const char* name : {"a", "b", "c"}) here.write(name, "");
  std::vector<std::string> names;
  for_each_name(here.path.string(), [&](std::string_view name) {
    names.emplace_back(name);
    return true;
  });
  std::ranges::sort(names);
  CHECK(names == std::vector<std::string>{"a", "b", "c"});
  int visited = 0;
  for_each_name(here.path.string(), [&](std::string_view) { return ++visited != 2; });
  CHECK(visited == 2);
  for_each_name(here.at("other"), [&](std::string_view) { return ++visited != 0; });
  CHECK(visited == 2);
}

TEST_CASE("a folder with anything in it is told from an empty one, and from none") {
  const folder here;
  CHECK_FALSE(any_name_in(here.path.string()));
  here.write("a", "");
  CHECK(any_name_in(here.path.string()));
  CHECK_FALSE(any_name_in(here.at("other")));
}

TEST_CASE("a number, or the default") {
  const folder here;
  here.write("limit", "65535\n");
  here.write("zero", "0");
  here.write("text", "many\n");
  here.write("empty", "");
  here.write("large", "99999999999999999999999\n");
  CHECK(number_in(here.at("limit"), 1) == 65535);
  CHECK(number_in(here.at("zero"), 1) == 0);
  for (const char* name : {"text", "empty", "large", "other"}) {
    CAPTURE(name);
    CHECK(number_in(here.at(name), 7) == 7);
  }
}

TEST_CASE("a device without a driver, or with one that does nothing, is unused") {
  for (const char* const driver : {"", "pcieport", "pci-stub"}) CHECK(leaves_device_unused(driver));
  for (const char* const driver : {"vfio-pci", "snd_hda_intel", "pci"})
    CHECK_FALSE(leaves_device_unused(driver));
}

}  // namespace runtime_backend_vfio_sysfs_files
