// SPDX-License-Identifier: BSL-1.0
// How much work a random or bounded test does, and from which seed. The amount fits every preset
// and is multiplied by TETHER_AMOUNT for a long run; the seed is always the same, unless
// TETHER_SEED names another.
#pragma once

#include <cstdint>
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TETHER_TEST_UNDER_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define TETHER_TEST_UNDER_ASAN 1
#endif
#endif

namespace tether_test {

/// How much slower this build is because of its instrumentation, roughly. Amounts are divided by
/// it, so that a test takes the same time.
#if defined(TETHER_TEST_UNDER_TSAN) || defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t slowdown = 16;
#elif defined(TETHER_TEST_UNDER_ASAN) || defined(__SANITIZE_ADDRESS__)
inline constexpr std::uint64_t slowdown = 4;
#else
inline constexpr std::uint64_t slowdown = 1;
#endif

[[nodiscard]] inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given != nullptr && *given != '\0' ? std::strtoull(given, nullptr, 0) : otherwise;
}

/// `plain` is the amount in a build without sanitizers.
[[nodiscard]] inline std::uint64_t amount(std::uint64_t plain) {
  return plain * from_environment("TETHER_AMOUNT", 1) / slowdown + 1;
}
[[nodiscard]] inline std::uint64_t seed() { return from_environment("TETHER_SEED", 0x7e7be5); }

}  // namespace tether_test
