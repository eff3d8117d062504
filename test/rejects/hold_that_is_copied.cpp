// SPDX-License-Identifier: BSL-1.0
// expects: (use of deleted function|call to implicitly-deleted copy constructor|call to deleted constructor)
#include <tether/inhibit/discard_gate.hpp>

#include <utility>

// One hold is one count.
using held = tether::hold<tether::multi_threaded>;
held pass_on(held one);
#ifdef TETHER_CONTROL
held pass_on(held one) { return held{std::move(one)}; }
#else
held pass_on(held one) { return held{one}; }
#endif
