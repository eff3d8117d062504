// SPDX-License-Identifier: BSL-1.0
// What is not said is the careful answer: it pins.
#include <tether/core/attachment.hpp>

namespace tether {

static_assert(pin_class{} == pin_class::pins && pin_class::pins != pin_class::pins_on_demand);
static_assert(attach_unit{} == attach_unit::group && attach_unit::group != attach_unit::device);

}  // namespace tether
