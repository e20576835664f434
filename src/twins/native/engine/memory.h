// The memory of forward passes, kept from one call to the next, so that no call waits for fresh pages.
#pragma once

#include <memory>
#include <vector>

#include "workspace.h"

namespace twins {

// A stretch of memory that grows to the largest size it was ever asked for.
class Arena {
 public:
  // To be called before `take`, with the sum of what the parts will take.
  void reserve(size_t bytes);

  // Room for so many floats, at the start of a line of the cache.
  float* take(size_t floats) {
    uint8_t* taken = next;
    next += padded(floats);
    return reinterpret_cast<float*>(taken);
  }
  static size_t padded(size_t floats) { return (floats * sizeof(float) + 127) / 64 * 64; }

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::unique_ptr<uint8_t[], Free> memory;
  size_t size = 0;
  uint8_t* next = nullptr;
};

// How large images and maps are that a group works on together.
struct GroupSize {
  int images, height, width;
};

// All buffers of one call: a scratch a worker, and maps for a number of groups.
class Workspace {
 public:
  void prepare(const Network& network, const GroupSize& size, const Blocking& blocking, int workers, int groups);
  std::vector<Scratch> scratch;
  std::vector<GroupMemory> groups;

 private:
  Arena arena;
};

// Lends a workspace for the time of a call; there are as many as there were calls at a time.
class Lent {
 public:
  Lent();
  ~Lent();
  Lent(const Lent&) = delete;
  Workspace& operator*() { return *workspace; }

 private:
  std::unique_ptr<Workspace> workspace;
};

}  // namespace twins
