// SPDX-License-Identifier: BSL-1.0
// What a kernel writes about an IOMMU, as arbitrary bytes: VFIO's capability chain, by itself and
// through the backend's retries, and iommufd's usable ranges. Nothing beyond the bytes is read, the
// reading ends, and the answer is that of a slow reader or an error.
#include "input.hpp"

#include <tether/backend/iommufd/ioas.hpp>
#include <tether/backend/vfio/type1_info.hpp>
#include <tether/backend/vfio_type1.hpp>

#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

using namespace tether;
using tether_fuzz::demand;
using tether_fuzz::input;

namespace {

constexpr page_sizes host{4 * KiB};

/// The slow reader: one byte at a time, by the numbers of the uapi and not by its structs. Nothing
/// where the chain is malformed.
class slow_reader {
 public:
  explicit slow_reader(std::span<std::uint8_t const> bytes) : bytes_(bytes.begin(), bytes.end()) {}

  [[nodiscard]] std::optional<detail::vfio_type1_info> read() {
    const auto argsz = number(0, 4);
    if (!ok_) return std::nullopt;
    if (argsz < bytes_.size()) bytes_.resize(argsz);
    const auto flags = number(4, 4);
    const auto sizes = number(8, 8);
    detail::vfio_type1_info info;
    info.page_sizes = (flags & 1) != 0 ? page_sizes{sizes} : host;
    if (!ok_ || info.page_sizes.mask == 0) return std::nullopt;
    if ((flags & 2) == 0) return info;
    std::uint64_t at = number(16, 4);
    std::uint64_t behind = 20;
    while (ok_ && at != 0) {
      if (at < behind) return std::nullopt;
      const auto next = number(at + 4, 4);
      if (!ok_ || !read_one(at, info)) return std::nullopt;
      behind = at + 8;
      at = next;
    }
    if (!ok_) return std::nullopt;
    return info;
  }

  /// Whether it gave up at ranges that are told in a version which is not known.
  [[nodiscard]] bool of_another_version() const noexcept { return of_another_version_; }

 private:
  bool read_one(std::uint64_t at, detail::vfio_type1_info& info) {
    const auto id = number(at, 2);
    const auto version = number(at + 2, 2);
    if (id != 1 && id != 3) return ok_;
    if (version != 1 && id == 3) return ok_;  // nothing depends on it
    if (version != 1) {
      of_another_version_ = ok_;
      return false;
    }
    if (id == 1) {
      const auto count = number(at + 8, 4);
      std::vector<extent<io_address>> ranges;
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto first = number(at + 16 + 16 * i, 8);
        const auto last = number(at + 24 + 16 * i, 8);
        if (!ok_ || last < first || (!ranges.empty() && first <= ranges.back().last.value))
          return false;
        ranges.push_back({io_address{first}, io_address{last}});
      }
      if (ranges.empty()) return false;
      info.usable = ranges;
    } else {
      info.available = static_cast<std::uint32_t>(number(at + 8, 4));
    }
    return ok_;
  }
  std::uint64_t number(std::uint64_t at, unsigned size) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i) {
      if (at + i >= bytes_.size()) {
        ok_ = false;
        return 0;
      }
      value |= std::uint64_t{bytes_[at + i]} << (8 * i);
    }
    return value;
  }

  std::vector<std::uint8_t> bytes_;
  bool ok_ = true;
  bool of_another_version_ = false;
};

bool agree(detail::vfio_type1_info const& a, detail::vfio_type1_info const& b) {
  return a.page_sizes == b.page_sizes && a.usable == b.usable && a.available == b.available;
}

void parse(std::span<std::uint8_t const> bytes) {
  const auto read = detail::parse_type1_info(std::as_bytes(bytes), host);
  slow_reader slow{bytes};
  const auto slowly = slow.read();
  demand(read.has_value() == slowly.has_value(), "what is malformed is refused, and nothing else");
  if (read) demand(agree(*read, *slowly), "both readers read the same");
  else
    demand(read.error().is(slow.of_another_version() ? errc::unsupported : errc::bad_descriptor),
           "it says what is wrong");
}

/// A kernel that answers every request to read limits with the fuzzer's bytes, never more than it
/// was given room for, and every other with success. What it writes beyond the room would be the
/// kernel's fault, and not ours to find.
struct lying_kernel : linux_kernel {
  static inline std::vector<std::uint8_t> says;
  /// how much room it says it needs, or how many ranges there are
  static inline std::uint32_t claims = 0;
  static inline std::uint64_t grows = 0;  ///< how often it needs more than it was given
  static inline std::uint64_t alignment = 1;
  static inline std::uint64_t asked = 0;
  /// what lay in the room when it had answered
  static inline std::vector<std::uint8_t> last_written;

  static std::uint64_t page_size() noexcept { return 4 * KiB; }
  static answer close(int) noexcept { return 0; }
  static answer fstat(int, struct stat&) noexcept { return 0; }
  static answer call(long, int, const char*, int, int) noexcept { return 100; }  // open
  // what is asked of /proc after a failure: nothing is there
  static answer call(long, int, char*, std::size_t) noexcept { return 0; }  // read
  static answer call(long, int, const char*, char*, std::size_t) noexcept { return -ENOENT; }
  static answer call(long, int, int, void*, void*) noexcept { return -ENOSYS; }  // prlimit64
  static answer call(long, int, unsigned long request) noexcept {
    return request == VFIO_GET_API_VERSION ? VFIO_API_VERSION : 0;
  }
  static answer call(long, int, unsigned long request, int) noexcept {
    return request == VFIO_CHECK_EXTENSION ? 1 : 0;
  }
  static answer call(long, int, unsigned long request, void* argument) noexcept {
    if (request == VFIO_GROUP_GET_STATUS)
      static_cast<vfio_group_status*>(argument)->flags = VFIO_GROUP_FLAGS_VIABLE;
    if (request == VFIO_IOMMU_GET_INFO) tell_type1(static_cast<std::uint8_t*>(argument));
    if (request == detail::iommufd_uapi::allocate_ioas.number)
      static_cast<detail::iommufd_uapi::new_ioas*>(argument)->ioas = 1;
    if (request == detail::iommufd_uapi::read_limits.number)
      return tell_iommufd(*static_cast<detail::iommufd_uapi::iova_limits*>(argument));
    return 0;
  }

 private:
  static void tell_type1(std::uint8_t* into) noexcept {
    demand(++asked < 16, "it stops asking");
    std::uint32_t room = 0;
    std::memcpy(&room, into, sizeof room);
    std::copy_n(says.begin(), std::min<std::size_t>(room, says.size()), into);
    const std::uint32_t needed = asked <= grows ? room + 1 + claims % 256 : claims;
    std::memcpy(into, &needed, sizeof needed);
    last_written.assign(into, into + room);
  }
  static answer tell_iommufd(detail::iommufd_uapi::iova_limits& limits) noexcept {
    demand(++asked < 16, "it stops asking");
    auto* const into = reinterpret_cast<std::uint8_t*>(static_cast<std::uintptr_t>(limits.ranges));
    const std::size_t room = limits.count * sizeof(detail::iommufd_uapi::iova_range);
    std::copy_n(says.begin(), std::min(room, says.size()), into);
    last_written.assign(into, into + room);
    limits.alignment = alignment;
    const bool too_many = asked <= grows;
    limits.count = too_many ? limits.count + claims % 256 : claims;
    return too_many ? -EMSGSIZE : 0;
  }
};

void join_type1() {
  basic_vfio_type1<lying_kernel> iommu{vfio_sysfs{"/nonexistent"}};
  auto joined = iommu.join(vfio_group{"/dev/vfio/1"});
  slow_reader slow{lying_kernel::last_written};
  const auto slowly = slow.read();
  std::uint32_t needed = 0;
  std::memcpy(&needed, lying_kernel::last_written.data(), sizeof needed);
  if (!joined) {
    demand(joined.error().is(errc::bad_descriptor) ||
               (slow.of_another_version() && joined.error().is(errc::unsupported)),
           "it says what is wrong");
    demand(!slowly || needed > lying_kernel::last_written.size(),
           "what is well-formed and complete is taken");
    return;
  }
  demand(slowly.has_value() && needed <= lying_kernel::last_written.size(),
         "what is malformed or cut off is refused");
  demand(iommu.page_sizes() == slowly->page_sizes &&
             std::ranges::equal(iommu.usable_iova(), slowly->usable),
         "it has what the kernel said");
  demand(iommu.leave(*joined).has_value(), "the group leaves");
}

void read_ranges() {
  auto context = basic_iommufd_context<lying_kernel>::open();
  demand(context.has_value(), "the context opens");
  detail::iommufd_ioas<lying_kernel> space{*context, true};
  const auto done = space.allocate();
  auto const& said = lying_kernel::last_written;
  std::vector<extent<io_address>> ranges;
  bool in_order = lying_kernel::asked > lying_kernel::grows && lying_kernel::claims != 0 &&
                  lying_kernel::claims <= said.size() / 16;
  for (std::size_t i = 0; in_order && i < lying_kernel::claims; ++i) {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    for (unsigned byte = 0; byte < 8; ++byte) {
      first |= std::uint64_t{said[16 * i + byte]} << (8 * byte);
      last |= std::uint64_t{said[16 * i + 8 + byte]} << (8 * byte);
    }
    in_order = first <= last && (ranges.empty() || ranges.back().last.value < first);
    ranges.push_back({io_address{first}, io_address{last}});
  }
  demand(done.has_value() == in_order, "ranges out of order are refused, and nothing else");
  if (!done) return demand(done.error().is(errc::bad_descriptor), "it says what is wrong");
  demand(std::ranges::equal(space.usable(), ranges), "it has the ranges that the kernel said");
  demand(!space.page_sizes().empty(), "there is a smallest page");
  static_cast<void>(space.destroy("destroy"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  input in{data, size};
  const auto how = in.below(4);
  if (how < 2) {
    parse(in.rest());
    return 0;
  }
  lying_kernel::asked = 0;
  lying_kernel::last_written.clear();
  lying_kernel::grows = in.below(8) & 3;
  lying_kernel::claims = in.flag() ? in.word() : in.byte();
  lying_kernel::alignment = in.flag() ? in.number() : std::uint64_t{1} << in.below(64);
  const auto rest = in.rest();
  lying_kernel::says.assign(rest.begin(), rest.end());
  if (how == 2) join_type1();
  else read_ranges();
  return 0;
}
