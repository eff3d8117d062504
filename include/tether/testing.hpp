// SPDX-License-Identifier: BSL-1.0
// Doubles for tests of your own, opt-in: a backend that keeps a journal of every call, and fails
// where a test says so.
#pragma once

#include <tether/testing/journal.hpp>
#include <tether/testing/recording.hpp>
