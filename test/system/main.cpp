// SPDX-License-Identifier: BSL-1.0
// main() of every case: doctest, and a line for each test case as it ends and for each check that
// fails, for machine.py to print.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <support/skip.hpp>

#include <cstdio>

namespace {

unsigned ran = 0;

struct teller : doctest::IReporter {
  explicit teller(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& run) override {
    ran = run.numTestCasesPassingFilters;
  }
  void test_case_start(const doctest::TestCaseData& one) override { name = one.m_name; }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& how) override {
    std::printf("%s  %s\n", how.failure_flags == 0 ? "passed" : "FAILED", name);
    std::fflush(stdout);
  }
  void test_case_exception(const doctest::TestCaseException& what) override {
    std::printf("FAILED  it threw: %s\n", what.error_string.c_str());
    std::fflush(stdout);
  }
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& check) override {
    if (!check.m_failed || (check.m_at & doctest::assertType::is_warn) != 0) return;
    std::printf("FAILED  %s:%d: %s(%s), which is %s\n", check.m_file, check.m_line,
                doctest::assertString(check.m_at), check.m_expr,
                check.m_threw ? check.m_exception.c_str() : check.m_decomp.c_str());
    std::fflush(stdout);
  }
  void log_message(const doctest::MessageData& said) override {
    if (said.m_severity == doctest::assertType::is_warn) return;
    std::printf("FAILED  %s:%d: %s\n", said.m_file, said.m_line, said.m_string.c_str());
    std::fflush(stdout);
  }
  void test_case_skipped(const doctest::TestCaseData&) override {}
  const char* name = "";
};

REGISTER_LISTENER("teller", 1, teller);

}  // namespace

int main(int count, char** arguments) {
  doctest::Context context{count, arguments};
  context.setOption("no-colors", true);
  const int outcome = context.run();
  if (outcome != 0) return outcome;
  if (ran == 0) return 1;  // a filter that matches nothing is no success
  return tether_test::skipped() ? 77 : 0;
}
