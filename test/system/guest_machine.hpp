// SPDX-License-Identifier: BSL-1.0
// A virtual machine inside the machine: examples/vmm with a stock kernel as guest, driven by its
// control socket, and the guest's program (guest/init.cpp) by the guest's serial port.
#pragma once

#include <system/in_machine.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <signal.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace in_machine {

/// The number behind `name` in an answer: "100M" and "100K" in bytes. -1 if it is not there.
inline std::int64_t number_after(std::string_view text, std::string_view name) {
  const auto at = text.find(name);
  if (at == text.npos) return -1;
  const std::string rest{text.substr(at + name.size(), 32)};
  char* end = nullptr;
  const auto number = static_cast<std::int64_t>(std::strtoll(rest.c_str(), &end, 0));
  if (end == rest.c_str()) return -1;
  const auto unit = *end == 'M' ? MiB : *end == 'K' ? KiB : 1;
  return number * static_cast<std::int64_t>(unit);
}

class guest_machine {
 public:
  /// Starts the monitor, and waits for the guest's program.
  explicit guest_machine(std::vector<std::string> words, bool wait = true, std::string name = "vmm")
      : socket_path_{"/tmp/" + name} {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    REQUIRE(::pipe2(in.data(), O_CLOEXEC) == 0);
    REQUIRE(::pipe2(out.data(), O_CLOEXEC) == 0);
    words.insert(words.begin(), {"/vmm", "--kernel", "/guest/vmlinuz", "--initrd", "/guest/initrd",
                                 "--append", "nokaslr iomem=relaxed cryptomgr.notests rdinit=/init",
                                 "--control", socket_path_});
    if (::access("/dev/iommu", F_OK) == 0) words.insert(words.end(), {"--backend", "iommufd"});
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    monitor_ = ::fork();
    REQUIRE(monitor_ >= 0);
    if (monitor_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(out[1], STDERR_FILENO);
      ::execv("/vmm", arguments.data());
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    input_ = in[1];
    console_ = out[0];
    if (wait) CHECK(heard("guest: ready", 400));
  }
  guest_machine(guest_machine const&) = delete;
  guest_machine& operator=(guest_machine const&) = delete;
  ~guest_machine() {
    if (monitor_ > 0) kill();
    ::close(input_);
    ::close(console_);
    if (socket_ >= 0) ::close(socket_);
  }

  /// Lines of the answer, without the last if that is "ok". Whatever is waited for here, what the
  /// guest prints is read meanwhile: the monitor stands still while nobody takes it.
  std::string tell(std::string const& command, unsigned seconds = 200) {
    if (socket_ < 0) connect();
    const std::string line = command + "\n";
    REQUIRE(::send(socket_, line.data(), line.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(line.size()));
    const auto deadline = from_now(seconds);
    std::string answer;
    for (;;) {
      if (!hear_until(socket_, deadline)) {
        show_console("no answer to '" + command + "'");
        return answer + "the monitor does not answer\n";
      }
      std::array<char, 4096> bytes{};
      const auto got = ::read(socket_, bytes.data(), bytes.size());
      if (got <= 0) return answer + "the monitor has hung up\n";
      answer.append(bytes.data(), static_cast<std::size_t>(got));
      if (answer == "ok\n" || answer.ends_with("\nok\n"))
        return answer.substr(0, answer.size() - 3);
      const auto last = answer.rfind('\n', answer.size() - 2);
      if (answer.ends_with("\n") && std::string_view{answer}
                                        .substr(last == answer.npos ? 0 : last + 1)
                                        .starts_with("failed:"))
        return answer;
    }
  }
  /// What the guest's program answers.
  std::string ask(std::string const& command, unsigned seconds = 200) {
    const std::string name = "guest: " + command.substr(0, command.find(' ')) + " ";
    seen_ = said_.size();
    CHECK(tell("say " + command) == "");
    if (!heard(name, seconds)) return "nothing";
    const auto at = said_.find(name, seen_) + name.size();
    return said_.substr(at, said_.find('\n', at) - at);
  }
  /// Waits until `number_after(status, name)` satisfies `enough`, and does not change any more.
  template <class Enough>
  std::int64_t settled(std::string_view name, Enough enough, unsigned seconds = 200) {
    std::int64_t last = -1;
    for (unsigned tries = 0; tries < seconds * 4; ++tries) {
      const auto now = number_after(tell("status"), name);
      if (now == last && enough(now)) return now;
      last = now;
      std::this_thread::sleep_for(std::chrono::milliseconds{250});
    }
    return last;
  }
  /// Asks for a balloon of that size, and waits until the guest has given it.
  void balloon(std::uint64_t bytes) {
    CHECK(tell("balloon " + std::to_string(bytes)) == "");
    CHECK(settled("balloon ", [&](auto now) { return now == static_cast<std::int64_t>(bytes); }) ==
          static_cast<std::int64_t>(bytes));
  }
  std::int64_t status(std::string_view name) { return number_after(tell("status"), name); }

  /// Waits for words on the guest's console, behind what was heard by the last `ask`.
  bool heard(std::string_view words, unsigned seconds) {
    const auto deadline = from_now(seconds);
    for (;;) {
      const auto at = said_.find(words, seen_);
      if (at != std::string::npos && said_.find('\n', at) != std::string::npos) return true;
      if (has_hung_up_ || clock::now() > deadline) break;
      hear(-1);
    }
    show_console("'" + std::string{words} + "' was not heard");
    return false;
  }
  [[nodiscard]] std::string const& console() const { return said_; }
  /// Ends it by its own means. Answers what the monitor's process answers.
  int quit() {
    CHECK(tell("quit") == "");
    return wait();
  }
  int wait(unsigned seconds = 200) {
    const auto deadline = from_now(seconds);
    int status = -1;
    pid_t ended = 0;
    while ((ended = ::waitpid(monitor_, &status, WNOHANG)) == 0) {
      if (clock::now() > deadline) {
        show_console("the monitor goes on");
        ::kill(monitor_, SIGKILL);
        ended = ::waitpid(monitor_, &status, 0);
        break;
      }
      if (has_hung_up_) std::this_thread::sleep_for(std::chrono::milliseconds{10});
      else hear(-1);
    }
    REQUIRE(ended == std::exchange(monitor_, -1));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  void kill() {
    ::kill(monitor_, SIGKILL);
    static_cast<void>(wait());
  }

 private:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] static clock::time_point from_now(unsigned seconds) {
    return clock::now() + std::chrono::seconds{seconds};
  }
  /// Reads what the guest has printed, or waits a tenth of a second for it, or for `other`. Answers
  /// whether that can be read.
  bool hear(int other) {
    std::array<pollfd, 2> both{{{other, POLLIN, 0}, {has_hung_up_ ? -1 : console_, POLLIN, 0}}};
    if (::poll(both.data(), both.size(), 100) <= 0) return false;
    if (both[1].revents != 0) {
      std::array<char, 4096> bytes{};
      const auto got = ::read(console_, bytes.data(), bytes.size());
      if (got <= 0) has_hung_up_ = true;
      else said_.append(bytes.data(), static_cast<std::size_t>(got));
    }
    return both[0].revents != 0;
  }
  bool hear_until(int other, clock::time_point deadline) {
    while (!hear(other))
      if (clock::now() > deadline) return false;
    return true;
  }
  void show_console(std::string const& why) const {
    std::printf("%s; the guest said (%zu bytes in all):\n%s\n", why.c_str(), said_.size(),
                said_.substr(said_.size() > 3000 ? said_.size() - 3000 : 0).c_str());
  }

  void connect() {
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::memcpy(at.sun_path, socket_path_.data(), socket_path_.size());
    socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (unsigned tries = 0; tries < 2400; ++tries) {
      if (::connect(socket_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds{50});
    }
    FAIL("the monitor does not listen");
  }

  std::string socket_path_;
  pid_t monitor_ = -1;
  int input_ = -1;
  int console_ = -1;
  int socket_ = -1;
  std::string said_;
  std::size_t seen_ = 0;
  bool has_hung_up_ = false;
};

constexpr std::int64_t bytes(std::uint64_t of) { return static_cast<std::int64_t>(of); }

/// Attaches the machine's device, and lets the guest transfer by it.
inline void attach(guest_machine& vm, std::string const& address = edu_address()) {
  CHECK(vm.tell("attach " + address) == "its registers (BAR 0) are at 0xd1000000\n");
}
inline void detach(guest_machine& vm, std::string const& address = edu_address()) {
  CHECK(vm.tell("detach " + address) == "");
  CHECK(vm.ask("dma 1") == "no device");
}
inline void no_page_is_stale(guest_machine& vm) {
  std::string said;
  bool compared_all = false;
  for (unsigned tries = 0; tries < 5 && !compared_all; ++tries) {  // compaction may be at work
    const auto mapped = vm.status("mapped ");
    said = vm.tell("audit");
    compared_all = number_after(said, "compared ") == mapped;
  }
  CAPTURE(said);
  CHECK(number_after(said, "stale ") == 0);
  CHECK(compared_all);
}

}  // namespace in_machine
