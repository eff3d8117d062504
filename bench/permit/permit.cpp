// SPDX-License-Identifier: BSL-1.0
// The races of this question: permits on 1, 2 and 4 threads, and holds (hold.hpp).
#include <permit/hold.hpp>
#include <permit/permit.hpp>

#include <memory>
#include <string>

void bench::register_races() {
  for (const unsigned threads : {1U, 2U, 4U}) {
    race<permit::subject>(
        "permit/enter and leave/threads:" + std::to_string(threads), "ns a permit",
        [threads] { return std::make_unique<permit::subject>(permit::crew{threads}); });
  }
  for (const unsigned beside : {0U, 1U}) {
    race<permit::hold_subject>(
        "permit/take and release a hold/busy threads:" + std::to_string(beside), "ns a hold",
        [beside] { return std::make_unique<permit::hold_subject>(beside); });
  }
}
