// SPDX-License-Identifier: BSL-1.0
// Commands, one a line, from standard input and from a Unix socket, and their answers.
#pragma once

#include "kvm.hpp"
#include "machine.hpp"
#include "sentence.hpp"
#include "status.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <list>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace vmm {

class control {
 public:
  /// Listens at `path`, unless it is empty. Fails: throws `cannot`.
  control(machine& of, std::string const& path) : machine_{of}, path_{path} {
    if (path.empty()) return;
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    if (path.size() >= sizeof at.sun_path) throw cannot{"--control: '" + path + "' is too long"};
    std::memcpy(at.sun_path, path.data(), path.size());
    ::unlink(path.c_str());
    listening_ = file{must_call(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "make a socket")};
    must_call(::bind(listening_.number(), reinterpret_cast<sockaddr*>(&at), sizeof at),
              "listen at '" + path + "'");
    must_call(::listen(listening_.number(), 4), "listen at '" + path + "'");
  }
  control(control const&) = delete;
  control& operator=(control const&) = delete;
  ~control() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  /// Obeys until `quit`, or until `ended` is readable.
  void run(int ended) {
    while (!quit_) {
      std::vector<pollfd> all{{ended, POLLIN, 0}, {listening_.number(), POLLIN, 0}};
      for (source const& one : sources_) all.push_back({one.input, POLLIN, 0});
      const int ready = ::poll(all.data(), all.size(), live_ ? 1000 : -1);
      if (live_) show_status();
      if (ready <= 0) continue;
      if (all[0].revents != 0) return;
      if (all[1].revents != 0) accept_one();
      std::size_t at = 2;
      for (auto one = sources_.begin(); one != sources_.end() && at < all.size(); ++at) {
        if (all[at].revents != 0 && !read_from(*one)) one = sources_.erase(one);
        else ++one;
      }
    }
  }

 private:
  struct source {
    int input;
    int output;
    file owned{};
    std::string pending{};
  };

  /// In place, on the last line of the terminal.
  void show_status() const {
    std::string line = status_of(machine_);
    std::ranges::replace(line, '\n', ' ');
    std::fprintf(stderr, "\r%.150s\x1b[K", line.c_str());
  }
  void accept_one() {
    const int client = ::accept4(listening_.number(), nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) sources_.push_back({client, client, file{client}, {}});
  }
  /// Answers false at its end.
  bool read_from(source& from) {
    std::array<char, 1024> bytes{};
    const auto got = ::read(from.input, bytes.data(), bytes.size());
    if (got <= 0) return false;
    from.pending.append(bytes.data(), static_cast<std::size_t>(got));
    for (auto end = from.pending.find('\n'); end != std::string::npos;
         end = from.pending.find('\n')) {
      const std::string line = from.pending.substr(0, end);
      from.pending.erase(0, end + 1);
      answer(from, obey(line));
    }
    return from.pending.size() < 64 * KiB;
  }
  static void answer(source const& to, std::string_view text) {
    while (!text.empty()) {
      const auto put = to.owned.number() >= 0
                           ? ::send(to.output, text.data(), text.size(), MSG_NOSIGNAL)
                           : ::write(to.output, text.data(), text.size());
      if (put <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(put));
    }
  }

  [[nodiscard]] std::string obey(std::string_view line) {
    const auto gap = line.find(' ');
    const std::string_view what = line.substr(0, gap);
    const std::string_view with = gap == line.npos ? "" : line.substr(gap + 1);
    const auto size = [&] {
      const auto bytes = size_from(with);
      if (!bytes) throw cannot{"'" + std::string{with} + "' is no size; write 64M, say"};
      return *bytes;
    };
    std::string text;
    try {
      if (what == "balloon") machine_.set_balloon(size());
      else if (what == "memory") machine_.set_memory(size());
      else if (what == "attach") text = attach(with);
      else if (what == "detach") must(machine_.passthrough().detach(with));
      else if (what == "status") text = status_of(machine_);
      else if (what == "discarded") text = discarded_of(machine_);
      else if (what == "audit") text = audit();
      else if (what == "say") machine_.console().type(with);
      else if (what == "quit") quit_ = true;
      else throw cannot{"'" + std::string{what} + "' is no command; --help lists them"};
    } catch (cannot const& why) {
      return std::string{"failed: "} + why.what() + '\n';
    }
    return text + "ok\n";
  }
  [[nodiscard]] std::string attach(std::string_view address) {
    const std::uint64_t at = must(machine_.passthrough().attach(address));
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "its registers (BAR 0) are at 0x%llx\n",
                  static_cast<unsigned long long>(at));
    return text.data();
  }
  [[nodiscard]] std::string audit() {
    const auto report = must(machine_.passthrough().audit());
    return "compared " + in_words(report.compared) + ", stale " +
           std::to_string(report.stale.size()) + '\n';
  }

  machine& machine_;
  std::string path_;
  file listening_;
  std::list<source> sources_ = [] {
    std::list<source> first;
    first.push_back({STDIN_FILENO, STDOUT_FILENO, {}, {}});
    return first;
  }();
  bool live_ = ::isatty(STDERR_FILENO) == 1;
  bool quit_ = false;
};

}  // namespace vmm
