// SPDX-License-Identifier: BSL-1.0
// `vfio_type1` under those laws of a backend that type1 itself keeps, on a fake kernel. Left out:
// an unmap of a hole succeeds in type1 (the backend calls it a mismatch, and the listener never
// asks for one), the kernel drops mappings when the last group leaves, and a fake kernel pins
// nothing that Linux would count.
#include <laws/backend.hpp>

#include <tether/backend/vfio_type1.hpp>

#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace laws_vfio_type1 {

using namespace tether;
using tether_test::fake_vfio_kernel;

namespace {

using type1 = basic_vfio_type1<fake_vfio_kernel>;

/// A real device is programmed through its registers; this one is called directly.
class laws_device {
 public:
  laws_device(type1::device_type opened, tether_test::fake_vfio::group& group)
      : opened_{std::move(opened)}, group_{&group} {}
  laws_device(laws_device&& other) noexcept
      : opened_{std::move(other.opened_)}, group_{std::exchange(other.group_, nullptr)} {}
  laws_device& operator=(laws_device&& other) noexcept {
    opened_ = std::move(other.opened_);
    group_ = std::exchange(other.group_, nullptr);
    return *this;
  }
  ~laws_device() = default;

  [[nodiscard]] result<void> dma_read(io_address at, std::span<std::byte> into) {
    return move(at, into.data(), into.size(), false);
  }
  [[nodiscard]] result<void> dma_write(io_address at, std::span<std::byte const> from) {
    return move(at, const_cast<std::byte*>(from.data()), from.size(), true);
  }
  [[nodiscard]] result<void> close(type1& iommu) {
    auto closed = iommu.close(opened_);
    if (closed) group_ = nullptr;
    return closed;
  }

 private:
  result<void> move(io_address at, std::byte* bytes, std::size_t size, bool device_writes) {
    if (group_ == nullptr) return failure(error{"move", errc::stale_handle});
    const int why = fake_vfio_kernel::machine().dma(*group_, at.value, bytes, size, device_writes);
    if (why == 0) return {};
    return failure(error{"move", why == EACCES      ? errc::access_denied
                                 : why == EOVERFLOW ? errc::invalid_extent
                                                    : errc::not_mapped});
  }

  type1::device_type opened_;
  tether_test::fake_vfio::group* group_;
};

/// Takes the groups of the law suite: each becomes a node of the fake kernel, and a folder of the
/// fake sysfs.
class laws_type1 {
 public:
  static constexpr bool pins = type1::pins;
  static constexpr attach_unit unit = type1::unit;
  using group_type = endpoint_group;
  using joined_group = type1::joined_group;
  using device_type = laws_device;

  explicit laws_type1(laws::limits small)
      : small_{std::move(small)},
        sysfs_{std::make_unique<tether_test::fake_sysfs>()},
        iommu_{vfio_sysfs{sysfs_->root()}} {
    fake_vfio_kernel::start_anew().entry_limit = small_.budget;
    sysfs_->set_mapping_limit(small_.budget);
  }

  [[nodiscard]] result<void> map(mapping const& what) noexcept { return iommu_.map(what); }
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    return iommu_.unmap(where);
  }
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return iommu_.page_sizes(); }
  [[nodiscard]] std::span<extent<io_address> const> usable_iova() const noexcept {
    return iommu_.usable_iova();
  }
  [[nodiscard]] std::uint64_t free_mappings() const noexcept { return iommu_.free_mappings(); }
  [[nodiscard]] result<joined_group> join(group_type const& group) noexcept {
    const std::string name{group.name()};
    auto& groups = fake_vfio_kernel::machine().groups;
    if (!groups.contains(name)) {
      tether_test::fake_group made{.devices = {},
                                   .pins = group.pins() == pin_class::pins,
                                   .viable = true,
                                   .page_sizes = ~(tether_test::host_page() - 1),
                                   .usable = small_.usable};
      for (auto const& one : group.endpoints()) {
        made.devices.push_back(one.name);
        sysfs_->add(name + "-" + one.name, one.pins == pin_class::pins ? "pci" : "mdev", "");
        const auto members = sysfs_->root() / "kernel/iommu_groups" / name / "devices";
        std::filesystem::create_directories(members);
        std::filesystem::create_symlink(sysfs_->root() / "devices" / (name + "-" + one.name),
                                        members / one.name);
      }
      if (!made.pins)
        std::ofstream{sysfs_->root() / "kernel/iommu_groups" / name / "name"} << "vfio-noiommu\n";
      made.number = static_cast<unsigned>(groups.size());
      sysfs_->add_group_node(name, "509:" + std::to_string(*made.number));
      groups[name].is = made;
    }
    return iommu_.join(vfio_group{name});
  }
  [[nodiscard]] result<void> leave(joined_group& joined) noexcept { return iommu_.leave(joined); }
  [[nodiscard]] result<pin_class> classify(joined_group& joined,
                                           std::string_view name) const noexcept {
    return iommu_.classify(joined, name);
  }
  [[nodiscard]] result<device_type> open(joined_group& joined, std::string_view name) noexcept {
    auto opened = iommu_.open(joined, name);
    if (!opened) return failure(opened.error());
    return laws_device{std::move(*opened),
                       fake_vfio_kernel::machine().groups.at(std::string{joined->name()})};
  }
  [[nodiscard]] result<void> close(device_type& device) noexcept { return device.close(iommu_); }
  [[nodiscard]] result<void> quiesce() noexcept { return iommu_.quiesce(); }
  [[nodiscard]] result<void> abandon() noexcept { return iommu_.abandon(); }

 private:
  laws::limits small_;
  std::unique_ptr<tether_test::fake_sysfs> sysfs_;
  type1 iommu_;
};

struct type1_rig {
  using backend_type = laws_type1;
  static result<backend_type> make(laws::limits const& small) { return laws_type1{small}; }
};
static_assert(backend<laws_type1> && dma_engine<laws_device>);

}  // namespace

TEST_CASE("vfio_type1 keeps the laws of a backend that type1 keeps") {
  using namespace laws;
  SUBCASE("DMA reaches what is mapped, and only that") {
    dma_reaches_what_is_mapped_and_only_that<type1_rig>();
  }
  SUBCASE("DMA crosses adjacent mappings") {
    dma_crosses_adjacent_mappings_wherever_their_memory_lies<type1_rig>();
  }
  SUBCASE("rights hold for each mapping") { rights_hold_for_each_mapping<type1_rig>(); }
  SUBCASE("an overlap is refused and changes nothing") {
    an_overlap_is_refused_and_changes_nothing<type1_rig>();
  }
  SUBCASE("a run of whole mappings is unmapped by one call") {
    a_run_of_whole_mappings_is_unmapped_by_one_call<type1_rig>();
  }
  SUBCASE("the budget is exact") { the_budget_is_exact<type1_rig>(); }
  SUBCASE("a mapping lies within one usable range") {
    a_mapping_lies_within_one_usable_range<type1_rig>();
  }
  SUBCASE("what is no mapping is refused and leaves nothing") {
    what_is_no_mapping_is_refused_and_leaves_nothing<type1_rig>();
  }
  SUBCASE("handles that are stale or busy are refused by name") {
    handles_that_are_stale_or_busy_are_refused_by_name<type1_rig>();
  }
  SUBCASE("a device closes itself and moves with its backend") {
    a_device_closes_itself_and_moves_with_its_backend<type1_rig>();
  }
  SUBCASE("a group pins as soon as one of its devices does") {
    a_group_pins_as_soon_as_one_of_its_devices_does<type1_rig>();
  }
  SUBCASE("a mediated device sees what the CPU sees") {
    a_mediated_device_sees_what_the_cpu_sees_with_and_without_company<type1_rig>();
  }
  SUBCASE("abandoning lets everything go but what is in use") {
    abandoning_lets_everything_go_but_what_is_in_use<type1_rig>();
  }
}

}  // namespace laws_vfio_type1
