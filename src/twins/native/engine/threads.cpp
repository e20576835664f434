#include "threads.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace twins {

namespace {

// Sublayers follow each other within microseconds, which is less than it takes to fall asleep and be woken.
constexpr int SPINS = 20000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

class Pool {
 public:
  void grow(int threads) {
    while (int(helpers.size()) < threads - 1) {
      const int worker = int(helpers.size()) + 1;
      helpers.emplace_back([this, worker] { help(worker); });
    }
  }

  void run(int size, int count, Workers::Task new_task, void* new_context) {
    task = new_task;
    context = new_context;
    tasks = count;
    next.store(0, std::memory_order_relaxed);
    busy.store(int(helpers.size()), std::memory_order_relaxed);
    invited = size;
    {
      std::lock_guard<std::mutex> lock(mutex);  // so that nobody falls asleep between looking and waiting
      round.fetch_add(1, std::memory_order_release);
    }
    if (sleepers.load() > 0) wake.notify_all();
    work(0);
    while (busy.load(std::memory_order_acquire) > 0) relax();
  }

  std::mutex owner;  // held by the Team that has the pool

 private:
  void work(int worker) {
    for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) task(context, i, worker);
  }

  void help(int worker) {
    for (unsigned seen = 0;; seen++) {
      for (int spin = 0; spin < SPINS && round.load(std::memory_order_acquire) == seen; spin++) relax();
      if (round.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers++;
        wake.wait(lock, [&] { return round.load(std::memory_order_acquire) != seen; });
        sleepers--;
      }
      if (worker < invited) work(worker);
      busy.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> helpers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<int> sleepers{0}, next{0}, busy{0};
  std::atomic<unsigned> round{0};
  Workers::Task task = nullptr;
  void* context = nullptr;
  int tasks = 0, invited = 0;
};

namespace {

// A child of fork() has none of its parent's threads: it gets a pool of its own, and its parent's is left alone.
Pool* pool_of_this_process() {
  static std::mutex guard;
  static Pool* pool = nullptr;
  static pid_t process = 0;
  std::lock_guard<std::mutex> lock(guard);
  if (process != getpid()) {
    pool = new Pool;  // never freed: its threads end with the process
    process = getpid();
  }
  return pool;
}

}  // namespace

Team::Team(int threads) : Team(threads, pool_of_this_process()) {}

Team::Team(int threads, Pool* free)
    : Workers(threads > 1 && free->owner.try_lock() ? threads : 1), pool(size > 1 ? free : nullptr) {
  if (pool) pool->grow(size);
}

Team::~Team() {
  if (pool) pool->owner.unlock();
}

void Team::run(int count, Task task, void* context) {
  if (pool && count > 1) return pool->run(size, count, task, context);
  for (int i = 0; i < count; i++) task(context, i, 0);
}

}  // namespace twins
