// SPDX-License-Identifier: BSL-1.0
// The pretended system calls. They stand alone, so that no compiler sees through them from where
// they are called.
#include <codegen/fake_iommu.hpp>
#include <codegen/system_calls.hpp>

#include <cstdint>

std::uint64_t codegen_asked = 0;
std::uint64_t codegen_calls = 0;

namespace {

int note(std::uint64_t what) noexcept {
  codegen_asked = codegen_asked * 31 + what;
  ++codegen_calls;
  return 0;
}

}  // namespace

extern "C" {
int codegen_follow(void* listener, void* replay) noexcept;
int codegen_forsake(void* listener) noexcept;

int codegen_map(int, std::uint64_t iova, std::uint64_t size, std::uint64_t host,
                unsigned rights) noexcept {
  return note(iova + 3 * size + 5 * host + 7 * rights);
}
int codegen_unmap(int, std::uint64_t iova, std::uint64_t size) noexcept {
  return note(11 * iova + 13 * size);
}
int codegen_join(int, int group) noexcept { return note(static_cast<std::uint64_t>(group) + 100); }
int codegen_leave(int, int group) noexcept { return note(static_cast<std::uint64_t>(group) + 200); }
int codegen_classify(int, char const* device) noexcept { return device[0] == 'm'; }
int codegen_open(int group, char const*) noexcept {
  return note(static_cast<std::uint64_t>(group) + 300);
}
int codegen_close(int) noexcept { return note(400); }
int codegen_wait(int) noexcept { return note(500); }
int codegen_destroy(int) noexcept { return note(600); }
int codegen_follow(void*, void*) noexcept { return note(700); }
int codegen_forsake(void*) noexcept { return note(800); }
}
