// SPDX-License-Identifier: BSL-1.0
// Backend and granularity as objects behind interfaces.
#include <overhead/at_run_time.hpp>

#include <cstdint>
#include <memory>

namespace {

struct any_granularity {
  any_granularity() = default;
  any_granularity(any_granularity const&) = delete;
  any_granularity& operator=(any_granularity const&) = delete;
  virtual ~any_granularity() = default;
  virtual std::uint64_t first_piece(std::uint64_t offset, std::uint64_t left) = 0;
};
struct any_backend {
  any_backend() = default;
  any_backend(any_backend const&) = delete;
  any_backend& operator=(any_backend const&) = delete;
  virtual ~any_backend() = default;
  virtual int map(std::uint64_t iova, std::uint64_t size, std::uint64_t host, unsigned rights) = 0;
  virtual int unmap(std::uint64_t iova, std::uint64_t size) = 0;
};

struct in_blocks : any_granularity {
  std::uint64_t first_piece(std::uint64_t offset, std::uint64_t left) override {
    return overhead::first_piece(offset, left);
  }
};
struct pretended : any_backend {
  int map(std::uint64_t iova, std::uint64_t size, std::uint64_t host, unsigned rights) override {
    return codegen_map(0, iova, size, host, rights);
  }
  int unmap(std::uint64_t iova, std::uint64_t size) override {
    return codegen_unmap(0, iova, size);
  }
};

struct objects {
  std::unique_ptr<any_granularity> granularity = std::make_unique<in_blocks>();
  std::unique_ptr<any_backend> backend = std::make_unique<pretended>();

  std::uint64_t first_piece(std::uint64_t offset, std::uint64_t left) const {
    return granularity->first_piece(offset, left);
  }
  int map(std::uint64_t iova, std::uint64_t size, std::uint64_t host, unsigned rights) const {
    return backend->map(iova, size, host, rights);
  }
  int unmap(std::uint64_t iova, std::uint64_t size) const { return backend->unmap(iova, size); }
};

const bench::side<overhead::subject> entered{
    "virtual calls", overhead::maps_and_unmaps<overhead::chosen_path<objects>>};

}  // namespace
