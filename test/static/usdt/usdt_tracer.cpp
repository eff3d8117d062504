// SPDX-License-Identifier: BSL-1.0
// With <sys/sdt.h> or without: the header can be read. What is in a program: package/usdt.
#include <tether/usdt/usdt_tracer.hpp>

#ifdef STAP_PROBE3
static_assert(tether::tracing<tether::usdt_tracer>);
static_assert(tether::tracing<tether::observers<tether::usdt_tracer, tether::no_tracing>>);
#endif
