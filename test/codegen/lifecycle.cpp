// SPDX-License-Identifier: BSL-1.0
// Attach, open, close and detach of every configuration, as a user calls them.
#include <codegen/product.hpp>

#include <tether/attach/container.hpp>

#include <boost/hana/unpack.hpp>

#include <string_view>

namespace codegen {

template <class Policies>
using container_of =
    tether::container<typename Policies::backend, typename Policies::inhibition, typename Policies::granularity, typename Policies::threading>;

namespace generic {

template <class Policies>
bool attach(container_of<Policies>& container, fake_group const& group) noexcept {
  return container.attach(group).has_value();
}
template <class Policies>
bool open(typename container_of<Policies>::attached& group, std::string_view name, tether::consent agrees) noexcept {
  return group.open(name, agrees).has_value();
}
template <class Policies>
bool close(typename container_of<Policies>::opened& device) noexcept {
  return device.close().has_value();
}
template <class Policies>
bool detach(typename container_of<Policies>::attached& group) noexcept {
  return group.detach().has_value();
}

}  // namespace generic

template <class Policies>
struct addresses {
  bool (*attach)(container_of<Policies>&, fake_group const&) noexcept;
  bool (*open)(typename container_of<Policies>::attached&, std::string_view, tether::consent) noexcept;
  bool (*close)(typename container_of<Policies>::opened&) noexcept;
  bool (*detach)(typename container_of<Policies>::attached&) noexcept;
};

// Having its address taken here, each function is generated.
extern constinit const auto all_addresses = hana::unpack(lifecycle_product, [](auto... of) {
  return hana::make_tuple(addresses<typename decltype(of)::type>{&generic::attach<typename decltype(of)::type>, &generic::open<typename decltype(of)::type>,
                                                                 &generic::close<typename decltype(of)::type>, &generic::detach<typename decltype(of)::type>}...);
});

}  // namespace codegen
