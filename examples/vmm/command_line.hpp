// SPDX-License-Identifier: BSL-1.0
// What the monitor is asked for. Anything that it does not understand is answered with one
// sentence.
#pragma once

#include "boot.hpp"
#include "passthrough.hpp"
#include "sentence.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

struct options {
  bool help = false;
  boot_files boot{};
  std::uint64_t memory = 256 * MiB;
  std::uint64_t most_memory = 0;  ///< more than `memory`: virtio-mem makes up the difference
  std::uint32_t processors = 1;
  choices chosen{};
  std::vector<std::string> devices{};
  std::string control{};
};

inline constexpr const char* usage =
    "usage: vmm --kernel BZIMAGE --initrd FILE [options]\n"
    "\n"
    "A small virtual machine monitor on KVM. Its guest has a balloon (virtio-balloon), memory "
    "that\n"
    "comes and goes (virtio-mem), and devices passed through by VFIO.\n"
    "\n"
    "  --append WORDS        more words for the kernel's command line\n"
    "  --memory SIZE         the guest's memory at the start; 256M if not given\n"
    "  --most-memory SIZE    how far it may grow: the difference is hot-plugged by virtio-mem\n"
    "  --cpus NUMBER         virtual processors, 1 to 8; 1 if not given\n"
    "  --device ADDRESS      attach this PCI device before the guest starts; may be repeated\n"
    "  --backend NAME        vfio_type1 (if not given) or iommufd\n"
    "  --inhibit WHO         by whom the balloon is held down: group (if not given), device or\n"
    "                        container\n"
    "  --blocks 2M|whole     2M: memory goes back to the host in blocks while devices are "
    "attached;\n"
    "                        whole (if not given): the balloon rests while they are\n"
    "  --control PATH        take commands on this Unix socket as well\n"
    "  --help                this\n"
    "\n"
    "Commands, one a line, on standard input and on the socket:\n"
    "\n"
    "  balloon SIZE          ask the guest to give SIZE to the balloon\n"
    "  memory SIZE           ask the guest to grow or shrink to SIZE (virtio-mem)\n"
    "  attach ADDRESS, detach ADDRESS    a PCI device, such as 0000:01:00.0\n"
    "  status                what is where, and who holds the balloon down\n"
    "  discarded             the guest's addresses that are given back to the host in blocks\n"
    "  audit                 compare every page that a device sees with the guest's own\n"
    "  say TEXT              type TEXT on the guest's serial port\n"
    "  quit\n"
    "\n"
    "Each is answered by lines of which the last is 'ok' or 'failed: ' and why. On a terminal the\n"
    "status is shown all the time.\n";

/// Fails: throws `cannot`.
[[nodiscard]] inline options parse(std::span<char const* const> words) {
  options asked;
  const auto size = [](std::string const& word, std::string const& value) {
    const auto bytes = size_from(value);
    if (!bytes || *bytes % block_bytes != 0 || *bytes > 64 * GiB)
      throw cannot{word + ": '" + value + "' is no multiple of 2M up to 64G; write 256M, say"};
    return *bytes;
  };
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string word = words[at];
    if (word == "--help" || word == "-h") {
      asked.help = true;
      return asked;
    }
    constexpr std::string_view known[] = {"--kernel", "--initrd",  "--append",  "--memory",
                                          "--device", "--backend", "--inhibit", "--most-memory",
                                          "--blocks", "--control", "--cpus"};
    if (std::ranges::find(known, word) == std::end(known))
      throw cannot{"'" + word + "' is not an option of this program; --help lists them"};
    if (at + 1 == words.size()) throw cannot{word + " needs a value behind it; --help tells which"};
    const std::string value = words[++at];
    const auto one_of = [&](std::initializer_list<std::string_view> all) {
      if (std::ranges::find(all, value) == all.end())
        throw cannot{word + ": '" + value + "' is none of its values; --help lists them"};
      return value;
    };
    if (word == "--kernel") asked.boot.kernel = value;
    else if (word == "--initrd") asked.boot.initrd = value;
    else if (word == "--append") asked.boot.command_line = value;
    else if (word == "--memory") asked.memory = size(word, value);
    else if (word == "--most-memory") asked.most_memory = size(word, value);
    else if (word == "--device") asked.devices.push_back(value);
    else if (word == "--control") asked.control = value;
    else if (word == "--backend") asked.chosen.backend = one_of({"vfio_type1", "iommufd"});
    else if (word == "--inhibit") asked.chosen.inhibit = one_of({"group", "device", "container"});
    else if (word == "--blocks") asked.chosen.blocks = one_of({"2M", "whole"}) == "2M";
    else
      asked.processors = static_cast<std::uint32_t>(
          one_of({"1", "2", "3", "4", "5", "6", "7", "8"}).front() - '0');
  }
  if (asked.boot.kernel.empty() || asked.boot.initrd.empty())
    throw cannot{"name a kernel and an initrd: --kernel BZIMAGE --initrd FILE"};
  if (asked.memory < 64 * MiB || asked.memory > 3 * GiB)
    throw cannot{"--memory: a guest begins with 64M to 3G here; --most-memory may be more"};
  if (asked.most_memory != 0 && asked.most_memory < asked.memory)
    throw cannot{"--most-memory: it is less than --memory"};
  return asked;
}

}  // namespace vmm
