// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/discard_method.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <string>

namespace runtime_topology_detail_discard_method {

using namespace tether;
using namespace tether::detail;

namespace {

static_assert(method_of(memory_kind::private_anonymous) == discard_method::drop_private);
static_assert(method_of(memory_kind::private_file) == discard_method::replace_private);
static_assert(method_of(memory_kind::shared) == discard_method::remove_shared);
static_assert(method_of(memory_kind::hugetlb) == discard_method::drop_private);
static_assert(method_of(memory_kind::device) == discard_method::refuse);

/// Writes the calls down. The first is interrupted where `interrupted` is set; that of `failing`
/// fails with `with`.
struct record {
  static inline std::string calls;
  static inline bool interrupted = false;
  static inline char failing = 0;
  static inline int with = ENOMEM;

  static std::int64_t note(char call, std::uint64_t first, std::uint64_t size) {
    calls += call + std::to_string(first) + '+' + std::to_string(size) + ' ';
    if (interrupted) {
      interrupted = false;
      return -EINTR;
    }
    return call == failing ? -with : 0;
  }
  static constexpr memory_calls table{
      .madvise =
          [](std::uint64_t host, std::uint64_t size, int advice) noexcept {
            return note(advice == MADV_DONTNEED ? 'd'
                        : advice == MADV_REMOVE ? 'r'
                                                : 'f',
                        host, size);
          },
      .drop_ranges = nullptr,
      .fallocate =
          [](int descriptor, int mode, std::uint64_t offset, std::uint64_t size) noexcept {
            return descriptor == 7 && mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
                       ? note('p', offset, size)
                       : std::int64_t{-EBADF};
          },
      .mmap =
          [](std::uint64_t size, int protection, int, int, std::uint64_t) noexcept {
            const auto answer = note('n', static_cast<std::uint64_t>(protection), size);
            return answer < 0 ? answer : std::int64_t{500};
          },
      .move_mapping =
          [](std::uint64_t from, std::uint64_t size, std::uint64_t to) noexcept {
            return from == 500 ? note('m', to, size) : std::int64_t{-EFAULT};
          },
      .munmap = [](std::uint64_t host,
                   std::uint64_t size) noexcept { return note('u', host, size); },
      .seals = [](int) noexcept { return std::int64_t{0}; },
      .close = [](int) noexcept { return std::int64_t{0}; },
      .any_locked = nullptr,
      .locked_until = nullptr,
      .file_system_is_full = nullptr};
};

std::string done(discard_method how, std::int64_t expected = 0) {
  record::calls.clear();
  constexpr discard_target what{
      .host = 1000, .size = 10, .protection = PROT_READ, .descriptor = 7, .file_offset = 40};
  CHECK(discard_pages(record::table, how, what) == expected);
  record::interrupted = false;
  record::failing = 0;
  return record::calls;
}

}  // namespace

TEST_CASE("each method makes its own call, with the bytes in memory or in the file") {
  CHECK(done(discard_method::drop_private) == "d1000+10 ");
  CHECK(done(discard_method::remove_shared) == "r1000+10 ");
  CHECK(done(discard_method::punch_hole) == "r1000+10 ");
  CHECK(done(discard_method::refuse, -EOPNOTSUPP).empty());
}

TEST_CASE("a private file's pages are replaced by memory of their protection, or not at all") {
  const std::string protection = std::to_string(PROT_READ);
  CHECK(done(discard_method::replace_private) == "n" + protection + "+10 f500+10 m1000+10 ");
  for (const char call : {'f', 'm'}) {
    record::failing = call;
    const std::string calls = done(discard_method::replace_private, -ENOMEM);
    CHECK(calls.ends_with("u500+10 "));
  }
  record::failing = 'n';
  CHECK(done(discard_method::replace_private, -ENOMEM) == "n" + protection + "+10 ");
}

TEST_CASE("an interrupted discard is made again") {
  record::interrupted = true;
  CHECK(done(discard_method::punch_hole) == "r1000+10 r1000+10 ");
}

TEST_CASE("a hole is punched by descriptor only where its mapping does not allow it") {
  for (const int refusal : {EACCES, EINVAL}) {
    record::failing = 'r';
    record::with = refusal;
    CHECK(done(discard_method::punch_hole) == "r1000+10 p40+10 ");
  }
  record::failing = 'r';
  record::with = EPERM;  // the file is sealed against writes: by descriptor, too
  CHECK(done(discard_method::punch_hole, -EPERM) == "r1000+10 ");
  record::with = ENOMEM;
}

}  // namespace runtime_topology_detail_discard_method
