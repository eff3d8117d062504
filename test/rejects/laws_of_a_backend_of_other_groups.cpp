// SPDX-License-Identifier: BSL-1.0
// expects: laws/backend.hpp joins groups of its own: give the backend's group_type a constructor from 'tether::endpoint_group const&' that is not explicit
#include <laws/backend.hpp>
#include <tether/backend/software_iommu.hpp>

// A slot of a board: what is in it is found when it joins.
struct slot {
#ifdef TETHER_CONTROL
  slot(tether::endpoint_group const& of_a_law) : is{of_a_law} {}
#else
  explicit slot(std::string name) : is{std::move(name), {{"eth0"}}} {}
#endif
  [[nodiscard]] std::string_view name() const noexcept { return is.name(); }
  tether::endpoint_group is;
};

struct board : tether::software_iommu {
  using software_iommu::software_iommu;
  using group_type = slot;
  tether::result<joined_group> join(slot const& which) noexcept {
    return software_iommu::join(which.is);
  }
  void locate() const = delete;
};

struct rig {
  using backend_type = board;
  static tether::result<board> make(tether::laws::limits const&) { return board{}; }
};

void judge();
void judge() { tether::laws::check_backend<rig>(); }
