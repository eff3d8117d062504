// SPDX-License-Identifier: BSL-1.0
// The main function of every question: says where and with what it was measured, then races.
#include <racing/race.hpp>

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <sys/utsname.h>
#include <thread>

namespace {

/// The value of the first line of a file that begins with `key`, behind its colon.
std::string value_in(char const* file, std::string const& key) {
  std::ifstream lines{file};
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with(key) && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string kernel() {
  utsname answer{};
  return ::uname(&answer) == 0 ? std::string{answer.sysname} + " " + answer.release : "unknown";
}

}  // namespace

int main(int argc, char** argv) {
#ifdef __clang__
  benchmark::AddCustomContext("compiler", "clang " __clang_version__);
#else
  benchmark::AddCustomContext("compiler", "g++ " __VERSION__);
#endif
  benchmark::AddCustomContext("processor", value_in("/proc/cpuinfo", "model name"));
  benchmark::AddCustomContext("processors", std::to_string(std::thread::hardware_concurrency()));
  benchmark::AddCustomContext("kernel", kernel());
  bench::register_races();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;
  benchmark::RunSpecifiedBenchmarks();
  return EXIT_SUCCESS;
}
