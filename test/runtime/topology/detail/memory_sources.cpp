// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/memory_sources.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/discard_freely.hpp>
#include <support/faulty_kernel.hpp>
#include <support/larger_pool.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace runtime_topology_detail_memory_sources {

using namespace tether;
using namespace tether::detail;
using tether_test::discard_freely;
using tether_test::descriptors;
using tether_test::must;

namespace {

const std::uint64_t page = linux_kernel::page_size();
constexpr std::uint64_t large = 256 * MiB;  // never touched, but seen in the process's size

/// A descriptor that closes itself.
struct file {
  int descriptor;
  explicit file(int opened) : descriptor{opened} { REQUIRE(opened >= 0); }
  file(file const&) = delete;
  file& operator=(file const&) = delete;
  ~file() { ::close(descriptor); }
};

file memfd(std::uint64_t size) {
  const auto opened =
      static_cast<int>(linux_kernel::memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(linux_kernel::ftruncate(opened, size) == 0);
  return file{opened};
}

/// Fails each system call of `make` in turn, with each errno, and compares the process before and
/// after. Answers without how many calls it cannot be made; without the others, which look for an
/// address on a large page, it is made where there is room.
template <class Make>
std::uint64_t sweep(Make make) {
  std::uint64_t needed = 0;
  std::uint64_t n = 1;
  for (bool struck = true; struck; ++n) {
    for (const int cause : {ENOMEM, EPERM}) {
      const auto before = descriptors();
      const auto mapped_before = tether_test::mapped_bytes();
      const injected_fault fault{n, cause};
      {
        auto made = make();
        struck = fault.fired();
        if (!struck) CHECK(made.has_value());
        if (!made && cause == EPERM) needed += 1;
        if (!made) CHECK(made.error().is_errno(cause));
        if (!made) CHECK(made.error().subject() == "ram");
      }
      CHECK(descriptors() == before);
      CHECK(tether_test::mapped_bytes() < mapped_before + large / 2);
    }
  }
  return needed;
}

/// How much address space this process has, as the kernel prints it.
std::string address_space_size() {
  std::ifstream status{"/proc/self/status"};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmSize:")) return line;
  }
  return {};
}

/// A kernel whose mappings all begin one page behind a large page's border.
struct misaligning_kernel : linux_kernel {
  static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                     std::uint64_t offset) noexcept {
    const std::uint64_t border = 2 * MiB;
    const auto answered =
        linux_kernel::mmap(size + 2 * border, protection, flags, descriptor, offset);
    if (answered < 0) return answered;
    const auto from = static_cast<std::uint64_t>(answered);
    const std::uint64_t given = round_up(from, border) + page;
    static_cast<void>(linux_kernel::munmap(from, given - from));
    static_cast<void>(linux_kernel::munmap(given + size, from + 2 * border - given));
    return static_cast<answer>(given);
  }
};

}  // namespace

TEST_CASE(
    "private memory of the size of large pages begins on one, whatever the kernel gives, and "
    "nothing more is kept") {
  std::string before = address_space_size();
  {
    auto ram = must(ram_block::allocate<misaligning_kernel>("ram", 4 * MiB + page));
    CHECK(ram.host().aligned_to(2 * MiB));
    ram.data()[0] = std::byte{1};
    ram.data()[ram.size() - 1] = std::byte{1};
    auto small = must(ram_block::allocate<misaligning_kernel>("small", page));
    CHECK(small.host().aligned_to(page));
  }
  CHECK(address_space_size() == before);
}

TEST_CASE("a failure at any system call leaves no memory and no descriptor behind") {
  CHECK(sweep([] { return ram_block::allocate<faulty_kernel>("ram", large); }) == 2);
  CHECK(sweep([] {
          return ram_block::allocate<faulty_kernel>("ram", large, memory_kind::shared);
        }) == 5);
  const file source = memfd(large);
  CHECK(sweep([&] {
          return ram_block::from_descriptor<faulty_kernel>("ram", source.descriptor, 0, large);
        }) == 6);
}

TEST_CASE("memory that was lent is never unmapped, whatever fails") {
  void* const lent =
      ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(lent != MAP_FAILED);
  const host_address host{reinterpret_cast<std::uintptr_t>(lent)};
  {
    const injected_fault fault{1, ENOMEM};
    CHECK(ram_block::borrow<faulty_kernel>("ram", host, 2 * page, memory_kind::private_anonymous)
              .error()
              .is_errno(ENOMEM));
    CHECK(fault.fired());
    CHECK(tether_test::is_mapped(host.value));
  }
  {
    auto block = must(
        ram_block::borrow<faulty_kernel>("ram", host, 2 * page, memory_kind::private_anonymous));
    CHECK(block.host() == host);
    must(block.free());
  }
  CHECK(tether_test::is_mapped(host.value));
  ::munmap(lent, 2 * page);
}

TEST_CASE("sizes, places and pages that cannot be are refused before the kernel is asked") {
  faulty_kernel::reset();
  using kind = memory_kind;
  CHECK(ram_block::allocate<faulty_kernel>("ram", 0).error().is(errc::invalid_extent));
  CHECK(ram_block::allocate<faulty_kernel>("ram", page + 1).error().is(errc::not_aligned));
  CHECK(ram_block::allocate<faulty_kernel>("ram", page, kind::private_anonymous, 100)
            .error()
            .is(errc::not_aligned));
  CHECK(ram_block::allocate<faulty_kernel>("ram", page, kind::private_anonymous, page * 3)
            .error()
            .is(errc::not_aligned));
  CHECK(ram_block::allocate<faulty_kernel>("ram", page, kind::private_anonymous, 1)
            .error()
            .is(errc::not_aligned));
  CHECK(
      ram_block::allocate<faulty_kernel>("ram", page, kind::device).error().is(errc::unsupported));
  CHECK(ram_block::borrow<faulty_kernel>("ram", host_address{0}, page, kind::shared)
            .error()
            .is(errc::invalid_extent));
  CHECK(ram_block::borrow<faulty_kernel>("ram", host_address{page}, 0, kind::shared)
            .error()
            .is(errc::invalid_extent));
  CHECK(ram_block::borrow<faulty_kernel>("ram", host_address{page + 1}, page, kind::shared)
            .error()
            .is(errc::not_aligned));
  const host_address last_page{~std::uint64_t{0} - page + 1};
  CHECK(ram_block::borrow<faulty_kernel>("ram", last_page, 2 * page, kind::shared)
            .error()
            .is(errc::invalid_extent));
  CHECK(ram_block::from_descriptor<faulty_kernel>("ram", 0, 0, 0).error().is(errc::invalid_extent));
  CHECK(ram_block::from_descriptor<faulty_kernel>("ram", 0, ~std::uint64_t{0}, page)
            .error()
            .is(errc::invalid_extent));
  CHECK(faulty_kernel::calls() == 0);
}

TEST_CASE("a descriptor that is not what it claims is refused by name, and nothing is kept of it") {
  const auto before = descriptors();
  const auto refused = [](int descriptor, std::uint64_t offset, std::uint64_t size, errc cause) {
    const auto block = ram_block::from_descriptor("ram", descriptor, offset, size);
    REQUIRE_FALSE(block);
    CHECK_MESSAGE(block.error().is(cause), block.error().sentence());
    CHECK(block.error().subject() == "ram");
  };
  refused(-1, 0, page, errc::bad_descriptor);
  refused(12345, 0, page, errc::bad_descriptor);
  {
    const file null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    refused(null.descriptor, 0, page, errc::bad_descriptor);
    const file folder{::open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    refused(folder.descriptor, 0, page, errc::bad_descriptor);
    const file proc{::open("/proc/self/status", O_RDONLY | O_CLOEXEC)};
    refused(proc.descriptor, 0, page, errc::bad_descriptor);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const file reading{ends[0]};
    const file writing{ends[1]};
    refused(reading.descriptor, 0, page, errc::bad_descriptor);

    const file real = memfd(4 * page);
    refused(real.descriptor, 0, 5 * page, errc::past_the_end);
    refused(real.descriptor, 2 * page, 3 * page, errc::past_the_end);
    refused(real.descriptor, 0, page + 1, errc::not_aligned);
    refused(real.descriptor, 100, page, errc::not_aligned);
    const std::string path = "/proc/self/fd/" + std::to_string(real.descriptor);
    const file write_only{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    refused(write_only.descriptor, 0, page, errc::bad_descriptor);
    const file named_only{::open(path.c_str(), O_PATH | O_CLOEXEC)};
    refused(named_only.descriptor, 0, page, errc::bad_descriptor);
    REQUIRE(::fcntl(real.descriptor, F_ADD_SEALS, F_SEAL_WRITE) == 0);
    refused(real.descriptor, 0, page, errc::bad_descriptor);
    CHECK(ram_block::from_descriptor("ram", real.descriptor, 0, page)
              .error()
              .sentence()
              .find("(F_SEAL_WRITE)") != std::string::npos);
    const file later = memfd(4 * page);
    REQUIRE(::fcntl(later.descriptor, F_ADD_SEALS, detail::seal_future_write) == 0);
    refused(later.descriptor, 0, page, errc::bad_descriptor);
    CHECK(ram_block::from_descriptor("ram", later.descriptor, 0, page)
              .error()
              .sentence()
              .find("F_SEAL_FUTURE_WRITE") != std::string::npos);
  }
  CHECK(descriptors() == before);
}

TEST_CASE("the same file and offset are the same memory, another offset is not") {
  const file source = memfd(4 * page);
  const auto one = must(ram_block::from_descriptor("one", source.descriptor, page, 2 * page));
  const auto again = must(ram_block::from_descriptor("again", source.descriptor, page, 2 * page));
  const auto behind =
      must(ram_block::from_descriptor("behind", source.descriptor, 2 * page, 2 * page));
  const file second = memfd(4 * page);
  const auto other = must(ram_block::from_descriptor("other", second.descriptor, page, 2 * page));
  const auto anonymous = must(ram_block::allocate("anonymous", page));
  const auto another = must(ram_block::allocate("another", page));
  CHECK(one.identity() == again.identity());
  CHECK_FALSE(one.identity() == behind.identity());
  CHECK_FALSE(one.identity() == other.identity());
  CHECK_FALSE(anonymous.identity() == another.identity());
  one.data()[0] = std::byte{42};
  CHECK(again.data()[0] == std::byte{42});
}

TEST_CASE("the caller keeps its own descriptor, and the block lives on without it") {
  auto block = [] {
    const file source = memfd(2 * page);
    auto made = must(ram_block::from_descriptor("ram", source.descriptor, 0, 2 * page));
    CHECK(::fcntl(source.descriptor, F_GETFD) >= 0);
    return made;
  }();
  block.data()[page] = std::byte{1};
  must(discard_freely(block, {block_offset{page}, block_offset{2 * page - 1}}));
  CHECK(block.data()[page] == std::byte{0});
  CHECK(block.kind() == memory_kind::shared);
  CHECK(block.page_size() == page);
}

TEST_CASE(
    "shared memory of ours cannot be taken away by who is sent its descriptor, and still be "
    "discarded") {
  auto block = must(ram_block::allocate("ram", 4 * page, memory_kind::shared));
  CHECK(must(block.seals()) == (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW));
  const file theirs{::dup(block.backing().source_at(block_offset{0}).descriptor)};
  CHECK(linux_kernel::ftruncate(theirs.descriptor, page) == -EPERM);
  CHECK(linux_kernel::ftruncate(theirs.descriptor, 8 * page) == -EPERM);
  CHECK(linux_kernel::add_seals(theirs.descriptor, F_SEAL_WRITE) == -EPERM);
  block.data()[3 * page] = std::byte{1};
  must(discard_freely(block, {block_offset{3 * page}, block_offset{4 * page - 1}}));
  CHECK(block.data()[3 * page] == std::byte{0});
  CHECK(must(ram_block::allocate("private", page)).seals().error().is(errc::unsupported));
}

namespace {

/// Four pages of some kind, and what came of borrowing them under each name.
struct lent_area {
  void* at;
  std::uint64_t size;
  lent_area(int flags, int descriptor = -1, std::uint64_t bytes = 4 * page)
      : at{::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0)}, size{bytes} {}
  lent_area(lent_area const&) = delete;
  lent_area& operator=(lent_area const&) = delete;
  ~lent_area() { ::munmap(at, size); }

  [[nodiscard]] result<ram_block> as(memory_kind kind, std::uint64_t page_size = 0) const {
    return ram_block::borrow("lent", host_address{reinterpret_cast<std::uintptr_t>(at)}, size, kind,
                             page_size);
  }
  /// Which kinds are accepted, as one letter each. Those refused name the right one.
  [[nodiscard]] std::string accepted(const char* right) const {
    std::string letters;
    for (const auto& [kind, letter] :
         {std::pair{memory_kind::private_anonymous, 'a'}, std::pair{memory_kind::private_file, 'f'},
          std::pair{memory_kind::shared, 's'}, std::pair{memory_kind::hugetlb, 'h'}}) {
      if (const auto block = as(kind)) {
        letters += letter;
      } else {
        CHECK_MESSAGE(block.error().sentence().find(right) != std::string::npos,
                      block.error().sentence());
        CHECK(block.error().subject() == "lent");
        CHECK(block.error().has_extent());
      }
    }
    return letters;
  }
};

}  // namespace

TEST_CASE("memory that is lent under a wrong name is refused, and told by its right one") {
  const file source = memfd(4 * page);
  char path[] = "/var/tmp/tether-XXXXXX";
  const file disk{::mkostemp(path, O_CLOEXEC)};
  ::unlink(path);
  REQUIRE(linux_kernel::ftruncate(disk.descriptor, 4 * page) == 0);
  const auto before = descriptors();
  CHECK(lent_area{MAP_PRIVATE | MAP_ANONYMOUS}.accepted("memory_kind::private_anonymous") == "af");
  CHECK(lent_area{MAP_PRIVATE, source.descriptor}.accepted("memory_kind::private_file") == "f");
  CHECK(lent_area{MAP_PRIVATE, disk.descriptor}.accepted("memory_kind::private_file") == "f");
  CHECK(lent_area{MAP_SHARED, source.descriptor}.accepted("memory_kind::shared") == "s");
  CHECK(lent_area{MAP_SHARED | MAP_ANONYMOUS}.accepted("memory_kind::shared") == "s");
  const lent_area gap{MAP_PRIVATE | MAP_ANONYMOUS};
  ::munmap(static_cast<std::byte*>(gap.at) + page, page);
  CHECK(gap.accepted("all of it must be mapped").empty());
  CHECK(gap.as(memory_kind::shared).error().is(errc::not_mapped));
  const lent_area mixed{MAP_PRIVATE | MAP_ANONYMOUS};
  REQUIRE(::mmap(mixed.at, page, PROT_READ, MAP_SHARED | MAP_FIXED, source.descriptor, 0) ==
          mixed.at);
  CHECK(mixed.accepted("several kinds").empty());
  const lent_area uneven{MAP_PRIVATE, source.descriptor};
  REQUIRE(::mprotect(uneven.at, page, PROT_READ) == 0);
  CHECK(uneven.as(memory_kind::private_file).error().sentence().find("several protections") !=
        std::string::npos);
  // A device's memory is never discarded, so it may be anything.
  CHECK(mixed.as(memory_kind::device));
  CHECK(descriptors() == before);
}

TEST_CASE("lent huge pages are known as such, by whichever way they come, and by their real size") {
  const tether_test::larger_pool pool{1};
  constexpr std::uint64_t huge = 2 * MiB;
  const lent_area own{MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, huge};
  if (own.at == MAP_FAILED) return tether_test::skip_because("no huge page can be had");
  CHECK(own.accepted("memory_kind::hugetlb") == "h");
  CHECK(must(own.as(memory_kind::hugetlb)).page_size() == huge);
  CHECK(own.as(memory_kind::hugetlb, page).error().is(errc::wrong_kind));
  CHECK(own.as(memory_kind::hugetlb, page).error().number() == huge);
  CHECK(must(own.as(memory_kind::hugetlb, huge)).page_size() == huge);
}

TEST_CASE("a discard of lent shared huge pages really gives them back") {
  const tether_test::larger_pool pool{1};
  constexpr std::uint64_t huge = 2 * MiB;
  const lent_area shared{MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, huge};
  if (shared.at == MAP_FAILED) return tether_test::skip_because("no huge page can be had");
  auto block = must(shared.as(memory_kind::hugetlb));
  block.data()[huge - 1] = std::byte{6};
  must(discard_freely(block, {block_offset{0}, block_offset{huge - 1}}));
  CHECK(block.data()[huge - 1] == std::byte{0});
  const file source{
      static_cast<int>(linux_kernel::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB))};
  REQUIRE(linux_kernel::ftruncate(source.descriptor, huge) == 0);
  must(block.free());
  const lent_area of_file{MAP_PRIVATE | MAP_NORESERVE, source.descriptor, huge};
  REQUIRE(of_file.at != MAP_FAILED);
  CHECK(of_file.accepted("map it shared").empty());
}

TEST_CASE("where nobody can say what lent memory is, it is not believed") {
  const file source = memfd(4 * page);
  const lent_area lent{MAP_PRIVATE, source.descriptor};
  const host_address at{reinterpret_cast<std::uintptr_t>(lent.at)};
  const auto before = descriptors();
  for (std::uint64_t n = 1;; ++n) {
    const injected_fault fault{n, EACCES};
    const auto block =
        ram_block::borrow<faulty_kernel>("ram", at, lent.size, memory_kind::private_file);
    if (!fault.fired()) {
      CHECK(n > 5);
      break;
    }
    REQUIRE_FALSE(block);
    CHECK(block.error().is_errno(EACCES));
    CHECK(block.error().subject() == "ram");
    CHECK(descriptors() == before);
  }
}

TEST_CASE("which limit it was that refused memory is asked, and told") {
  const auto said = [](std::uint64_t size, memory_kind what, std::uint64_t page_size = 0) {
    const auto made = ram_block::allocate<faulty_kernel>("ram", size, what, page_size);
    return made ? std::string{"(it was made)"} : made.error().sentence();
  };
  {
    const injected_fault empty_pool{1, ENOMEM};
    CHECK(said(2 * MiB, memory_kind::hugetlb, 2 * MiB)
              .find("too few huge pages of 2048 KiB are free") != std::string::npos);
  }
  {
    const injected_fault no_such_pool{1, EINVAL};
    CHECK(said(2 * MiB, memory_kind::hugetlb, 2 * MiB).find("no huge pages of 2048 KiB") !=
          std::string::npos);
  }
  {
    const injected_fault overcommitted{1, ENOMEM};
    CHECK(said(2 * MiB, memory_kind::private_anonymous).find("see vm.overcommit_memory") !=
          std::string::npos);
  }
  const std::uint64_t too_much = std::uint64_t{1} << 50;
  for (const auto what : {memory_kind::private_anonymous, memory_kind::shared}) {
    CAPTURE(what == memory_kind::shared);
    CHECK(said(too_much, what).find("no such run of free addresses") != std::string::npos);
  }
  std::fflush(nullptr);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit limit{1024 * MiB, 1024 * MiB};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(77);
    ::_exit(said(2048 * MiB, memory_kind::private_anonymous).find("1048576 KiB (ulimit -v)") !=
                    std::string::npos
                ? 0
                : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) % 77 == 0);
}

}  // namespace runtime_topology_detail_memory_sources
