// SPDX-License-Identifier: BSL-1.0
// The race of this question.
#include <overhead/overhead.hpp>

#include <memory>

void bench::register_races() {
  race<overhead::subject>(
      "overhead/map and unmap a section/pieces:17", "ns both",
      [] { return std::make_unique<overhead::subject>(); }, 2.0);
}
