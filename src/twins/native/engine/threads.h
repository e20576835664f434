// The threads that share a forward pass: made once, asleep between calls.
#pragma once

#include "workspace.h"

namespace twins {

// The calling thread alone, under a worker's number: for a core that has an image to itself.
struct Alone final : Workers {
  explicit Alone(int worker) : Workers(1), worker(worker) {}
  void run(int count, Task task, void* context) override {
    for (int i = 0; i < count; i++) task(context, i, worker);
  }
  const int worker;
};

// The process's pool, for as long as this lives: the calling thread and up to `threads` - 1 others.
//
// Where another call has the pool already, the size is 1 and the calling thread works alone: calls from several Python
// threads then run side by side instead of waiting for each other at every sublayer.
class Team final : public Workers {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  void run(int count, Task task, void* context) override;

 private:
  Team(int threads, class Pool* pool);
  class Pool* pool;
};

}  // namespace twins
