// SPDX-License-Identifier: BSL-1.0
// Each rule over all that it can be asked.
#include <tether/core/detail/unit_rules.hpp>

namespace tether::detail {
namespace {

constexpr unit_record there{};
constexpr unit_record gone{.wanted_gone = 1, .present = false};
constexpr unit_record unwanted{.wanted_gone = 0, .present = false};  // its source was destroyed
constexpr unit_record kept{.kept = 1};

static_assert(there == unit_record{.wanted_gone = 0,
                                   .present = true,
                                   .changing = false,
                                   .may_be_mapped = false,
                                   .kept = 0});

static_assert(task_of_discard(there, false) == unit_task::change);
static_assert(task_of_discard(kept, false) == unit_task::refuse);
static_assert(task_of_discard(gone, true) == unit_task::nothing);
static_assert(task_of_discard(gone, false) == unit_task::note);
static_assert(task_of_discard(unwanted, false) == unit_task::note);

static_assert(task_of_populate(there, false) == unit_task::forget);
static_assert(task_of_populate(gone, true) == unit_task::change);
static_assert(task_of_populate(gone, false) == unit_task::forget, "another one wants it gone");
static_assert(task_of_populate({.wanted_gone = 2, .present = false}, true) == unit_task::forget);
static_assert(task_of_populate(unwanted, false) == unit_task::change);

constexpr unit_record half_back = after_populate(gone, unit_outcome::stuck);
static_assert(half_back.may_be_mapped && after_populate(gone, unit_outcome::failed) == gone &&
              after_populate(gone, unit_outcome::done) == gone);
static_assert(after_populate(half_back, unit_outcome::failed) == half_back &&
              after_populate(half_back, unit_outcome::done) == gone);
static_assert(is_given_back(gone, unit_outcome::failed) &&
                  !is_given_back(gone, unit_outcome::done) &&
                  !is_given_back(half_back, unit_outcome::stuck) &&
                  !is_given_back(half_back, unit_outcome::failed),
              "it may still be mapped");

static_assert(telling_and_enrolling{}.may_tell() && telling_and_enrolling{}.may_open());
static_assert(telling_and_enrolling{.telling = 1}.may_tell() &&
              !telling_and_enrolling{.telling = 1}.may_open());
static_assert(!telling_and_enrolling{.enrolling = 1}.may_tell() &&
              telling_and_enrolling{.enrolling = 1}.may_open());
static_assert(!telling_and_enrolling{.enrolling = 2, .open = true}.may_tell() &&
              !telling_and_enrolling{.enrolling = 2, .open = true}.may_open());

static_assert(answer_of(true, false, false) == unit_answer::act &&
              answer_of(false, true, false) == unit_answer::act);
static_assert(answer_of(true, true, false) == unit_answer::nothing &&
              answer_of(false, false, false) == unit_answer::nothing);
static_assert(answer_of(true, false, true) == unit_answer::refuse &&
              answer_of(true, true, true) == unit_answer::refuse &&
              answer_of(false, true, true) == unit_answer::refuse);
static_assert(answer_of(false, false, true) == unit_answer::nothing, "it does not have it");

static_assert(is_mapped_after(true, unit_outcome::done) &&
              !is_mapped_after(true, unit_outcome::failed) &&
              is_mapped_after(true, unit_outcome::stuck));
static_assert(!is_mapped_after(false, unit_outcome::done) &&
              is_mapped_after(false, unit_outcome::failed) &&
              is_mapped_after(false, unit_outcome::stuck));

static_assert(is_followed_after_mapping(unit_outcome::done) &&
              !is_followed_after_mapping(unit_outcome::failed) &&
              is_followed_after_mapping(unit_outcome::stuck));
static_assert(!is_followed_after_unmapping(unit_outcome::done) &&
              is_followed_after_unmapping(unit_outcome::failed) &&
              is_followed_after_unmapping(unit_outcome::stuck));

}  // namespace
}  // namespace tether::detail
