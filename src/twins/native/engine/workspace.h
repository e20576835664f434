// Memory and hands: what a forward pass works with besides the weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed.h"

namespace twins {

// Sizes of blocks, chosen so that they fit the caches next to a core.
constexpr int KEY_BLOCK = 128;    // keys whose scores exist at a time
constexpr int QUERY_BLOCK = 32;   // queries whose scores exist at a time
constexpr int ROW_BLOCK = 32;     // rows that products by AMX read together, past the last one too
constexpr int LEAST_ROWS = MOST_TOKENS_OF_WINDOW;  // that every instruction set has room for: a window is never cut
constexpr int MOST_SHARED_ROWS = LEAST_ROWS;  // of a map whose blocks workers share by columns: see `shared_block.h`
constexpr int LINE = 64;          // bytes of a line of the caches

// How far apart rows of so many elements lie: whole lines, and one more, so that rows do not fall on the same sets of
// a cache.
template <class T> constexpr ptrdiff_t stride_of(ptrdiff_t columns) {
  constexpr ptrdiff_t each = LINE / sizeof(T);
  return (columns + each - 1) / each * each + each;
}

// Gets tasks done: `task(context, index, worker)` once for every index, by some worker below `size`.
struct Workers {
  typedef void (*Task)(void* context, int index, int worker);
  explicit Workers(int size) : size(size) {}
  virtual void run(int count, Task task, void* context) = 0;
  const int size;

 protected:
  ~Workers() = default;
};

// Rows of a product, see `Rows`; the last three only for int8. A row has room for whole lines and one more.
struct RowScratch {
  float *data, *exact, *scales, *zeros;
};

// Buffers of one worker, all of floats. Their sizes stand in `scratch_floats`.
struct Scratch {
  RowScratch rows;    // left operand of most products
  RowScratch hidden;  // of the second layer of an MLP
  float* qkv;         // queries, keys and values, or whatever a product leaves for the next step
  float *keys, *values, *scores, *outputs, *products, *most, *total;  // attention, see `AttentionScratch`
};

// Maps and sub-sampled keys and values of the images that are worked on together.
struct GroupMemory {
  float *map, *other_map;  // channels last; a stage's output and the next one's input take turns
  float* key_values;
  float* pooled;
  float* shared;           // for blocks whose columns workers share: see `shared_block.h`
  int* passes;             // first window of each pass
};

struct Group {
  int count;               // images
  const float* images;     // (count, in_chans, height, width)
  int height, width;
  float* const* outputs;   // logits or pooled features; or a channels-last map for each wanted stage
  const Network* network;
  GroupMemory memory;
  const Scratch* scratch;  // one a worker
  Workers* workers;
};

// One for each instruction set and dtype.
typedef void (*RunGroup)(const Group& group);

// Times the product of `rows` rows with a packed weight matrix: what nothing made of such products can be faster than.
typedef void (*RunProduct)(const Linear& linear, int rows, int repeats, const Scratch& scratch);

// Products of what registers hold, without loads, `repeats` times; returns how many multiply-adds these are.
typedef int64_t (*RunPeak)(int repeats);

// How much an instruction set works on at a time.
struct Blocking {
  int most_rows;       // tokens that go through the layers together
  size_t activation;   // bytes of a number of the left operand
  size_t group_bytes;  // of the first map of those images that a core takes together
};

// What an instruction set adds for a dtype; nothing where an older one is as good.
struct Kernels {
  RunGroup run_group = nullptr;
  RunProduct run_product = nullptr;
  RunPeak run_peak = nullptr;  // by tile registers only
  Blocking blocking = {};
};

}  // namespace twins
