// SPDX-License-Identifier: BSL-1.0
// A name is found whatever it is the name of; what is not there is not.
#include <tether/core/detail/member_name.hpp>

namespace tether::detail {
namespace {

struct tick_name {
  int tick;
  template <class T>
  static constexpr bool finds = requires { &T::tick; };
};
struct tick_or_tock {
  int tick, tock;
  template <class T>
  static constexpr bool finds = requires { &T::tick, &T::tock; };
};

struct as_function {
  void tick();
};
struct overloaded {
  void tick(int);
  static void tick(char);
};
struct as_template {
  template <class T>
  void tick(T);
};
struct as_data {
  bool tick = true;
};
struct as_type {
  using tick = int;
};
class out_of_sight {
  void tick();
};
struct inherited : as_function {};
struct with_no_default {
  explicit with_no_default(int);
  void tick();
};
struct abstract {
  virtual ~abstract() = default;
  virtual void tick() = 0;
};
struct other {
  void tock();
};
struct nothing {};
struct only_declared;
struct sealed final {
  void tick();
};
struct sealed_other final {
  void tock();
};
enum class scoped { tick };

template <class... Types>
constexpr bool found = (has_member<Types, tick_name> && ...);
template <class... Types>
constexpr bool missing = (!has_member<Types, tick_name> && ...);

static_assert(found<as_function, overloaded, as_template, as_data, as_type, out_of_sight, inherited,
                    with_no_default, abstract, sealed>);
static_assert(missing<other, nothing, sealed_other, scoped, int, int&, as_function*>);
static_assert(missing<only_declared>);
static_assert(has_member<as_function, tick_or_tock> && has_member<other, tick_or_tock> &&
              !has_member<nothing, tick_or_tock>);

}  // namespace
}  // namespace tether::detail
