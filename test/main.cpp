// SPDX-License-Identifier: BSL-1.0
// main() of every doctest executable. Beside running tests it
//   - writes the list of its test cases as a CTest script (`--list-test-cases --reporters=ctest`),
//   - fails where the filter that ctest gave it does not select exactly one test case (doctest alone would
//     run none, and call that a success),
//   - answers 77, which ctest knows as "skipped", where a test said that it cannot run here (support/skip.hpp).
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <support/skip.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <ostream>
#include <set>
#include <string>
#include <string_view>

namespace {

std::string program;       // --ctest-program=: the command that ctest runs
std::string label;         // --ctest-label=: the prefix of each name
bool exactly_one = false;  // --exactly-one: given by ctest
unsigned selected = 0;     // test cases that passed the filters

/// Whether the tests of a file compete for the user's locked-memory limit: ctest does not run two of
/// them at once. (The pool of huge pages has a lock of its own: support/larger_pool.hpp.)
bool locks_memory(std::string_view file) {
  constexpr std::array<std::string_view, 7> where{"/laws/",
                                                  "/scenario/",
                                                  "/exhaustive/balloon_race",
                                                  "/exhaustive/fault_sweep.cpp",
                                                  "/exhaustive/the_whole",
                                                  "/attach/",
                                                  "io_uring"};
  return std::ranges::any_of(where, [file](std::string_view one) {
    return file.find(one) != std::string_view::npos;
  });
}

/// doctest splits a filter at commas, unless they are escaped.
std::string as_filter(std::string_view name) {
  std::string filter;
  for (const char letter : name) {
    if (letter == ',') filter += '\\';
    filter += letter;
  }
  return filter;
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char letter) {
    return static_cast<char>(std::tolower(letter));
  });
  return text;
}

struct silent_reporter : doctest::IReporter {
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

/// Writes one add_test per test case.
struct ctest_script : silent_reporter {
  explicit ctest_script(const doctest::ContextOptions& options) : out{*options.cout} {}

  void report_query(const doctest::QueryData& query) override {
    std::set<std::string> seen;
    for (unsigned i = 0; i < query.num_data; ++i) {
      const doctest::TestCaseData& one = *query.data[i];
      const std::string name = one.m_name;
      if (!seen.insert(lower(name)).second || name.find("]=]") != std::string::npos) {
        std::fprintf(stderr, "%s: two test cases are called '%s', or it cannot be written down\n",
                     one.m_file.c_str(), one.m_name);
        std::exit(1);
      }
      const std::string test = "[=[" + label + ": " + name + "]=]";
      out << "add_test(" << test << " [=[" << program << "]=] [=[--test-case=" << as_filter(name)
          << "]=] --exactly-one)\n"
          << "set_tests_properties(" << test << " PROPERTIES SKIP_RETURN_CODE 77 LABELS " << label;
      // The higher its COST, the earlier ctest begins a test: first those that exclude each other,
      // then the long ones, or one processor would idle at the end.
      if (locks_memory(one.m_file.c_str())) out << " RESOURCE_LOCK locked_memory COST 2";
      else if (label == "exhaustive") out << " COST 1";
      out << ")\n";
    }
  }

  std::ostream& out;
};

struct counting_listener : silent_reporter {
  explicit counting_listener(const doctest::ContextOptions&) {}
  void test_run_end(const doctest::TestRunStats& run) override {
    selected = run.numTestCasesPassingFilters;
  }
};

REGISTER_REPORTER("ctest", 1, ctest_script);
REGISTER_LISTENER("count", 1, counting_listener);

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    if (argument.starts_with("--ctest-program=")) program = argument.substr(argument.find('=') + 1);
    if (argument.starts_with("--ctest-label=")) label = argument.substr(argument.find('=') + 1);
    if (argument == "--exactly-one") exactly_one = true;
  }
  doctest::Context context{count, arguments};
  const int outcome = context.run();
  if (context.shouldExit() || outcome != 0) return outcome;
  if (exactly_one && selected != 1) {
    std::fprintf(stderr, "the filter selects %u test cases instead of one\n", selected);
    return 1;
  }
  return tether_test::skipped() ? 77 : 0;
}
