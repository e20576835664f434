#include "threads.h"

#include "denormals.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace twins {

namespace {

// Sublayers follow each other within microseconds, which is less than it takes to fall asleep and be woken. Where there
// are more threads than cores, whoever is waited for may need this one's core: so not too long without yielding.
constexpr int SPINS = 20000, SPINS_TO_YIELD = 2000;

inline void relax(int spin) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
  if (spin % SPINS_TO_YIELD == SPINS_TO_YIELD - 1) std::this_thread::yield();
}

}  // namespace

class Pool {
 public:
  // Makes threads until there are so many with the calling one; returns how many there are, if the system allows fewer.
  int grow(int threads) {
    try {
      while (int(helpers.size()) < threads - 1) {
        const int worker = int(helpers.size()) + 1;
        helpers.emplace_back([this, worker, seen = round.load()] { help(worker, seen); });
      }
    } catch (const std::system_error&) {
      return int(helpers.size()) + 1;
    }
    return threads;
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
    for (int spin = 0; busy.load(std::memory_order_acquire) > 0; spin++) relax(spin);
  }

  std::mutex owner;  // held by the Team that has the pool

 private:
  void work(int worker) {
    for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) task(context, i, worker);
  }

  void help(int worker, unsigned seen) {
    const DenormalsAreZero in_this_thread;
    for (;; seen++) {
      for (int spin = 0; spin < SPINS && round.load(std::memory_order_acquire) == seen; spin++) relax(spin);
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

std::mutex guard;

// fork() waits until nobody holds the lock, for in the child it would stay locked.
[[maybe_unused]] const int registered =
    pthread_atfork([] { guard.lock(); }, [] { guard.unlock(); }, [] { guard.unlock(); });

// A child of fork() has none of its parent's threads: it gets a pool of its own, and its parent's is left alone.
Pool* pool_of_this_process() {
  static Pool* pool = nullptr;
  static pid_t process = 0;
  std::lock_guard<std::mutex> lock(guard);
  if (process != getpid()) {
    pool = new Pool;  // never freed: its threads end with the process
    process = getpid();
  }
  return pool;
}

// Locks the pool for a team and returns how many threads it has; 1, and the pool stays free, where it is taken.
int join(Pool* pool, int threads) {
  if (threads < 2 || !pool->owner.try_lock()) return 1;
  const int joined = pool->grow(threads);
  if (joined == 1) pool->owner.unlock();
  return joined;
}

}  // namespace

Team::Team(int threads) : Team(threads, pool_of_this_process()) {}

Team::Team(int threads, Pool* pool) : Workers(join(pool, threads)), pool(size > 1 ? pool : nullptr) {}

Team::~Team() {
  if (pool) pool->owner.unlock();
}

void Team::run(int count, Task task, void* context) {
  if (pool && count > 1) return pool->run(size, count, task, context);
  for (int i = 0; i < count; i++) task(context, i, 0);
}

}  // namespace twins
