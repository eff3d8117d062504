// SPDX-License-Identifier: BSL-1.0
// `iommufd` under those laws of a backend that do not involve groups, on a fake kernel. Left out:
// the budget (it has no limit), what a group is to its devices (each joins alone), unmapping
// everything, which is one request here that accepts holes (other holes and cuts are refused, see
// runtime/backend/iommufd.cpp), and pins that Linux would count.
#include <laws/backend.hpp>

#include <tether/backend/iommufd.hpp>

#include <support/fake_iommufd_kernel.hpp>
#include <support/fake_sysfs.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace laws_iommufd {

using namespace tether;
using tether_test::fake_iommufd_kernel;

namespace {

using on_fake = basic_iommufd<fake_iommufd_kernel>;

/// A real device is programmed through its registers; this one is called directly.
class laws_device {
 public:
  laws_device(on_fake::device_type opened, tether_test::fake_iommufd::device& wired)
      : opened_{std::move(opened)}, wired_{&wired} {}
  laws_device(laws_device&& other) noexcept
      : opened_{std::move(other.opened_)}, wired_{std::exchange(other.wired_, nullptr)} {}
  laws_device& operator=(laws_device&& other) noexcept {
    opened_ = std::move(other.opened_);
    wired_ = std::exchange(other.wired_, nullptr);
    return *this;
  }
  ~laws_device() = default;

  [[nodiscard]] result<void> dma_read(io_address at, std::span<std::byte> into) {
    return move(at, into.data(), into.size(), false);
  }
  [[nodiscard]] result<void> dma_write(io_address at, std::span<std::byte const> from) {
    return move(at, const_cast<std::byte*>(from.data()), from.size(), true);
  }
  [[nodiscard]] result<void> close(on_fake& iommu) {
    if (auto left = iommu.leave(opened_); !left) return left;
    auto closed = iommu.close(opened_);
    if (closed) wired_ = nullptr;
    return closed;
  }

 private:
  result<void> move(io_address at, std::byte* bytes, std::size_t size, bool device_writes) {
    if (wired_ == nullptr) return failure(error{"move", errc::stale_handle});
    const int why =
        fake_iommufd_kernel::machine().dma(*wired_, at.value, bytes, size, device_writes);
    if (why == 0) return {};
    return failure(error{"move", why == EACCES      ? errc::access_denied
                                 : why == EOVERFLOW ? errc::invalid_extent
                                                    : errc::not_mapped});
  }

  on_fake::device_type opened_;
  tether_test::fake_iommufd::device* wired_;
};

/// Takes the groups of the law suite: each device of one becomes a node of the fake kernel. A group
/// is only a name here, and a device is opened, bound and joined in one call.
class laws_iommufd {
 public:
  static constexpr bool pins = on_fake::pins;
  static constexpr attach_unit unit = attach_unit::group;  // as the suite sees it
  using group_type = endpoint_group;
  using joined_group = endpoint_group;
  using device_type = laws_device;

  static result<laws_iommufd> make(laws::limits const& small) {
    fake_iommufd_kernel::start_anew();
    auto made = std::make_unique<tether_test::fake_sysfs>();
    auto context = basic_iommufd_context<fake_iommufd_kernel>::open();
    if (!context) return failure(context.error());
    auto iommu = on_fake::open(*context, vfio_sysfs{made->root()});
    if (!iommu) return failure(iommu.error());
    return laws_iommufd{small, std::move(made), std::move(*iommu)};
  }

  [[nodiscard]] result<void> map(mapping const& what) noexcept { return iommu_.map(what); }
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    return iommu_.unmap(where);
  }
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return iommu_.page_sizes(); }
  [[nodiscard]] std::span<extent<io_address> const> usable_iova() const noexcept {
    return iommu_.usable_iova();
  }
  /// The suite counts down from its budget.
  [[nodiscard]] std::uint64_t free_mappings() const noexcept {
    return small_.budget - fake_iommufd_kernel::machine().areas();
  }
  [[nodiscard]] result<joined_group> join(group_type const& group) noexcept {
    for (auto const& one : group.endpoints()) {
      const std::string name = std::string{group.name()} + "-" + one.name;
      auto& wired = fake_iommufd_kernel::machine().devices[name];
      wired.is.name = name;
      wired.is.group = group.name();
      wired.is.mediated = one.pins == pin_class::pins_on_demand;
      wired.is.number = static_cast<unsigned>(fake_iommufd_kernel::machine().devices.size());
      wired.is.aperture = {small_.usable.front().first, small_.usable.back().last};
      wired.is.reserved.clear();
      for (std::size_t i = 1; i < small_.usable.size(); ++i) {
        auto const& before = small_.usable[i - 1];
        if (!before.meets(small_.usable[i]))
          wired.is.reserved.push_back({before.last + 1, small_.usable[i].first - 1});
      }
      sysfs_->add(name, wired.is.mediated ? "mdev" : "pci", std::string{group.name()});
      sysfs_->add_node(name, name, "510:" + std::to_string(wired.is.number));
    }
    return group;
  }
  [[nodiscard]] result<void> leave(joined_group&) noexcept { return {}; }
  [[nodiscard]] result<pin_class> classify(joined_group& joined,
                                           std::string_view name) const noexcept {
    return iommu_.classify(named(joined, name));
  }
  [[nodiscard]] result<device_type> open(joined_group& joined, std::string_view name) noexcept {
    const auto endpoint = named(joined, name);
    auto opened = iommu_.open(endpoint);
    if (!opened) return failure(opened.error());
    if (auto bound = iommu_.bind(*opened); !bound) return failure(bound.error());
    if (auto inside = iommu_.join(*opened); !inside) return failure(inside.error());
    return laws_device{std::move(*opened),
                       fake_iommufd_kernel::machine().devices.at(std::string{endpoint.name()})};
  }
  [[nodiscard]] result<void> close(device_type& device) noexcept { return device.close(iommu_); }
  [[nodiscard]] result<void> quiesce() noexcept { return iommu_.quiesce(); }
  [[nodiscard]] result<void> abandon() noexcept { return iommu_.abandon(); }

 private:
  laws_iommufd(laws::limits small, std::unique_ptr<tether_test::fake_sysfs> made, on_fake iommu)
      : small_{std::move(small)}, sysfs_{std::move(made)}, iommu_{std::move(iommu)} {}

  [[nodiscard]] vfio_cdev named(joined_group const& joined, std::string_view name) const {
    return vfio_cdev{std::string{joined.name()} + "-" + std::string{name},
                     vfio_sysfs{sysfs_->root()}};
  }

  laws::limits small_;
  std::unique_ptr<tether_test::fake_sysfs> sysfs_;
  on_fake iommu_;
};

/// The kernel merges ranges that touch, so the suite's first two would be one here: a hole of one
/// page takes its place between them.
struct iommufd_rig {
  using backend_type = laws_iommufd;
  static result<backend_type> make(laws::limits const& small) {
    laws::limits apart = small;
    apart.usable[0].last = apart.usable[0].last - tether_test::host_page();
    return laws_iommufd::make(apart);
  }
};
static_assert(backend<laws_iommufd> && dma_engine<laws_device>);

}  // namespace

TEST_CASE("iommufd keeps the laws of a backend that do not speak of groups") {
  using namespace laws;
  SUBCASE("DMA reaches what is mapped, and only that") {
    dma_reaches_what_is_mapped_and_only_that<iommufd_rig>();
  }
  SUBCASE("DMA crosses adjacent mappings") {
    dma_crosses_adjacent_mappings_wherever_their_memory_lies<iommufd_rig>();
  }
  SUBCASE("rights hold for each mapping") { rights_hold_for_each_mapping<iommufd_rig>(); }
  SUBCASE("an overlap is refused and changes nothing") {
    an_overlap_is_refused_and_changes_nothing<iommufd_rig>();
  }
  SUBCASE("a run of whole mappings is unmapped by one call") {
    a_run_of_whole_mappings_is_unmapped_by_one_call<iommufd_rig>();
  }
  SUBCASE("a mapping lies within one usable range") {
    a_mapping_lies_within_one_usable_range<iommufd_rig>();
  }
  SUBCASE("what is no mapping is refused and leaves nothing") {
    what_is_no_mapping_is_refused_and_leaves_nothing<iommufd_rig>();
  }
  SUBCASE("a mediated device sees what the CPU sees") {
    a_mediated_device_sees_what_the_cpu_sees_with_and_without_company<iommufd_rig>();
  }
}

}  // namespace laws_iommufd
