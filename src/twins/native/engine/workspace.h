// Memory and hands: what a forward pass works with besides the weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed.h"

namespace twins {

// Sizes of tiles and blocks, chosen so that they fit the caches next to a core.
constexpr int MOST_ROWS = 98;     // tokens that go through the layers together: two windows of 7 x 7
constexpr int KEY_BLOCK = 128;    // keys whose scores exist at a time
constexpr int QUERY_BLOCK = 30;   // queries whose scores exist at a time
constexpr int ROW_PADDING = 16;   // floats after each row, so that rows do not fall on the same lines of a cache

// Gets tasks done: `task(context, index, worker)` once for every index, by some worker below `size`.
struct Workers {
  typedef void (*Task)(void* context, int index, int worker);
  explicit Workers(int size) : size(size) {}
  virtual void run(int count, Task task, void* context) = 0;
  const int size;

 protected:
  ~Workers() = default;
};

// Rows of a product, see `Rows`; the last three only for int8.
struct RowScratch {
  float *data, *exact, *scales, *zeros;
};

// Buffers of one worker, all of floats. Their sizes stand in `scratch_floats`.
struct Scratch {
  RowScratch rows;    // left operand of most products
  RowScratch hidden;  // of the second layer of an MLP
  float* qkv;         // queries, keys and values, or whatever a product leaves for the next step
  float *keys, *scores, *outputs, *most, *total;  // attention, see `AttentionScratch`
};

// Maps and summaries of the pictures that are worked on together.
struct GroupMemory {
  float *map, *other_map;  // channels last; a stage's output and the next one's input take turns
  float* key_values;
  float* pooled;
  int* tiles;              // first window of each tile
};

struct Group {
  int count;               // pictures
  const float* images;     // (count, in_chans, height, width)
  int height, width;
  float* const* answers;   // logits or pooled features; or a channels-last map for each wanted stage
  const Network* network;
  GroupMemory memory;
  const Scratch* scratch;  // one a worker
  Workers* workers;
};

// One for each instruction set and dtype.
typedef void (*RunGroup)(const Group& group);

// Times the product of `rows` rows with a packed weight matrix: what nothing made of such products can be quicker than.
typedef void (*RunProduct)(const Linear& linear, int rows, int repeats, const Scratch& scratch);

struct Kernels {
  RunGroup run_group[3];  // by Dtype
  RunProduct run_product[3];
};

}  // namespace twins
