// SPDX-License-Identifier: BSL-1.0
// What views share: sections in ascending order, each with the owner that keeps it alive. All of
// it lies in one allocation, because each commit makes one or two of them:
//
//     | reference count, sizes | section | section | ... | owner | owner | ... |
#pragma once

#include <tether/topology/detail/section_owner_pointer.hpp>
#include <tether/topology/detail/section_run.hpp>
#include <tether/topology/section.hpp>

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

namespace tether::detail {

/// Allocates one object with `room` bytes behind it, and says through `behind` where these are.
template <class Object>
struct allocator_with_room {
  using value_type = Object;

  std::size_t room;
  void** behind;  ///< dangling once it has allocated

  allocator_with_room(std::size_t bytes, void** where) noexcept : room{bytes}, behind{where} {}
  template <class Other>
  allocator_with_room(allocator_with_room<Other> const& other) noexcept
      : room{other.room}, behind{other.behind} {}

  [[nodiscard]] Object* allocate(std::size_t count) {
    void* const at = ::operator new(count * sizeof(Object) + room);
    *behind = static_cast<Object*>(at) + count;
    return static_cast<Object*>(at);
  }
  void deallocate(Object* at, std::size_t) noexcept { ::operator delete(at); }
  friend bool operator==(allocator_with_room const&, allocator_with_room const&) noexcept {
    return true;
  }
};

/// Never empty, and immutable, once a view has it.
class section_chunk {
 public:
  /// Sections in a full chunk: a commit copies about as many for each change.
  static constexpr std::size_t full = 64;

  /// An empty chunk for `capacity` sections. Cost: one allocation. Fails: throws `std::bad_alloc`.
  [[nodiscard]] static std::shared_ptr<section_chunk> make(std::size_t capacity) {
    void* behind = nullptr;  // set before the constructor reads it
    return std::allocate_shared<section_chunk>(
        allocator_with_room<section_chunk>{
            capacity * (sizeof(section) + sizeof(section_owner_pointer)), &behind},
        capacity, behind);
  }
  /// For `make` alone. `behind`: room for as many sections and owners.
  section_chunk(std::size_t capacity, void* const& behind) noexcept
      : sections_{static_cast<section*>(behind)},
        owners_{reinterpret_cast<section_owner_pointer*>(sections_ + capacity)} {}
  section_chunk(section_chunk const&) = delete;
  section_chunk& operator=(section_chunk const&) = delete;
  ~section_chunk() { std::destroy_n(owners_, size_); }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<section const> sections() const noexcept { return {sections_, size_}; }
  /// The owner of each section.
  [[nodiscard]] std::span<section_owner_pointer const> owners() const noexcept {
    return {owners_, size_};
  }

  /// Appends `count` sections of another chunk, or of a run, from `begin` on, with their owners.
  /// Requires: there are as many, and there is room for them.
  void append(section_chunk const& other, std::size_t begin, std::size_t count) noexcept {
    append(other.sections_ + begin, other.owners_ + begin, count);
  }
  void append(section_run const& other, std::size_t begin, std::size_t count) noexcept {
    append(other.sections.data() + begin, other.owners.data() + begin, count);
  }

 private:
  void append(section const* what, section_owner_pointer const* whose, std::size_t count) noexcept {
    std::uninitialized_copy_n(what, count, sections_ + size_);
    std::uninitialized_copy_n(whose, count, owners_ + size_);
    size_ += count;
  }

  section* sections_;
  section_owner_pointer* owners_;
  std::size_t size_ = 0;
};
static_assert(std::is_trivially_copyable_v<section>, "copied without a failure, never destroyed");
static_assert(alignof(section) <= alignof(std::max_align_t) &&
                  alignof(section) % alignof(section_owner_pointer) == 0,
              "owners lie behind sections, and these behind the chunk");

}  // namespace tether::detail
