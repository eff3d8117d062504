// SPDX-License-Identifier: BSL-1.0
// Opt-in: static probes (USDT) for bpftrace, perf and SystemTap. Needs <sys/sdt.h>, which Debian
// has in systemtap-sdt-dev; nothing else of tether includes it.
#pragma once

#include <tether/version.hpp>

#include <tether/usdt/usdt_tracer.hpp>
