// SPDX-License-Identifier: BSL-1.0
// Attach, open, close and detach as a user calls them. check.py finds `generic::attach<X>` in an
// object file and follows it into everything that it reaches.
#pragma once

#include <codegen/fake_iommu.hpp>

#include <tether/inhibit/membership.hpp>

#include <string_view>

namespace codegen {

namespace generic {

template <class Policies>
bool attach(typename Policies::container& container, fake_group const& group) noexcept {
  return container.attach(group).has_value();
}
template <class Policies>
bool open(typename Policies::container::attached& group, std::string_view name,
          tether::consent agrees) noexcept {
  return group.open(name, agrees).has_value();
}
template <class Policies>
bool close(typename Policies::container::opened& device) noexcept {
  return device.close().has_value();
}
template <class Policies>
bool detach(typename Policies::container::attached& group) noexcept {
  return group.detach().has_value();
}

}  // namespace generic

template <class Policies>
struct addresses {
  bool (*attach)(typename Policies::container&, fake_group const&) noexcept;
  bool (*open)(typename Policies::container::attached&, std::string_view, tether::consent) noexcept;
  bool (*close)(typename Policies::container::opened&) noexcept;
  bool (*detach)(typename Policies::container::attached&) noexcept;
};

template <class Policies>
constexpr addresses<Policies> addresses_of() {
  return {&generic::attach<Policies>, &generic::open<Policies>, &generic::close<Policies>,
          &generic::detach<Policies>};
}

}  // namespace codegen
