// What attention reads, and what it needs of memory.
#pragma once

#include "dtypes.h"
#include "workspace.h"

namespace twins::TWINS_ISA {

// What a thread needs to attend; `width` is the largest width of a head. Where products read bfloat16, panels hold it.
struct AttentionScratch {
  float* keys;      // KEY_BLOCK * width: a block of keys as packed panels
  float* values;    // 2 * KEY_BLOCK * width: blocks of values as packed panels
  float* scores;    // 3 * QUERY_BLOCK * KEY_BLOCK
  float* outputs;   // rows * width: weighted sums of values so far
  float* products;  // QUERY_BLOCK * width: weighted sums of a block of values
  float* most;      // rows: largest score so far
  float* total;     // rows: sum of weights so far
};

// Queries, keys and values, head after head. Those of a head lie together, `width` elements a token.
template <class T> struct HeadOperands {
  const T* queries;
  ptrdiff_t query_stride;  // from one head to the next
  int query_count;
  const T *keys, *values;
  ptrdiff_t key_stride;  // the same of keys, and of values
  int key_count;
  int heads, width;  // the width of each is a multiple of PANEL
};

// Rows that attention's output is written to: head after head in a row, a row a query.
template <class T> struct AttendedRows {
  T* data;
  ptrdiff_t stride;
};

// A square of LANES x LANES floats, turned over its diagonal: log2(LANES) rounds that interleave rows i and i + half.
TWINS_INLINE void transpose(Vec (&rows)[LANES]) {
#pragma GCC unroll 4
  for (int round = 1; round < LANES; round *= 2) {
    Vec next[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES / 2; i++) {
      const Vec a = rows[i], b = rows[i + LANES / 2];
#if TWINS_LANES == 4
      next[2 * i] = __builtin_shufflevector(a, b, 0, 4, 1, 5);
      next[2 * i + 1] = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#elif TWINS_LANES == 8
      next[2 * i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
      next[2 * i + 1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
      next[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#endif
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) rows[i] = next[i];
  }
}

}  // namespace twins::TWINS_ISA
