// Softmax attention of one head, a block of keys at a time, so that scores never leave the nearest caches.
#pragma once

#include "linear.h"

namespace twins::TWINS_ISA {

// What a thread needs to attend; `width` is the largest width of a head.
struct AttentionScratch {
  float* keys;     // KEY_BLOCK * width: a block of keys as packed panels
  float* scores;   // QUERY_BLOCK * KEY_BLOCK
  float* outputs;  // MOST_ROWS * width: weighted sums of values so far
  float* most;     // MOST_ROWS: largest score so far
  float* total;    // MOST_ROWS: sum of weights so far
};

// Rows of queries, keys and values; a token's channels of the head lie together.
struct HeadOperands {
  const float* queries;
  ptrdiff_t query_stride;
  int query_count;
  const float *keys, *values;
  ptrdiff_t key_stride;
  int key_count;
  int width;  // a multiple of PANEL
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

// Keys as the right operand of a product: panels of PANEL keys, channel after channel. Keys past the end are zeros.
TWINS_INLINE void pack_keys(const float* keys, ptrdiff_t stride, int count, int width, float* panels) {
  for (int key = 0; key < count; key += LANES)
    for (int channel = 0; channel < width; channel += LANES) {
      Vec square[LANES];
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++) square[i] = key + i < count ? load(keys + (key + i) * stride + channel) : Vec{};
      transpose(square);
      float* panel = panels + key / PANEL * PANEL * ptrdiff_t(width) + channel * PANEL + key % PANEL;
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++) store(panel + i * PANEL, square[i]);
    }
}

// One row of scores becomes weights, 2^(score - largest); answers their sum. Scores past the end become 0.
TWINS_INLINE float softmax_row(float* scores, int count, float most) {
  const Vec offset = broadcast(most);
  Vec total = {};
  int key = 0;
  for (; key + LANES <= count; key += LANES) {
    const Vec weight = exp2_of_negative(load(scores + key) - offset);
    store(scores + key, weight);
    total += weight;
  }
  float rest = 0;
  if (key < count) {
    store(scores + key, exp2_of_negative(min(load(scores + key) - offset, Vec{})));
    for (; key < count; key++) rest += scores[key];
  }
  return sum_of_lanes(total) + rest;
}

TWINS_INLINE float largest_of_row(const float* scores, int count, float most) {
  Vec largest = broadcast(most);
  int key = 0;
  for (; key + LANES <= count; key += LANES) largest = max(largest, load(scores + key));
  most = max_of_lanes(largest);
  for (; key < count; key++) most = larger(most, scores[key]);
  return most;
}

// A product of plain matrices by tiles: sums of `count` rows and `columns` (whole panels), row by row to `put`.
template <class Put>
TWINS_INLINE void multiply_plain(const float* rows, ptrdiff_t row_stride, int count, const float* panels,
                                 ptrdiff_t panel_stride, ptrdiff_t step_stride, int steps, int columns, Put put) {
  constexpr int SUM_STRIDE = TILE_COLUMNS / LANES;
  Vec sums[TILE_ROWS * SUM_STRIDE];
  const int tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
  for (int column = 0; column < columns; column += TILE_COLUMNS) {
    const int wide = smaller(TILE_COLUMNS, columns - column);
    for (int tile = 0; tile < tiles; tile++) {
      const int first = count * tile / tiles, end = count * (tile + 1) / tiles;
      const TileOperands<Fp32> operands = {rows + first * row_stride, row_stride, panels + column / PANEL * panel_stride,
                                           panel_stride, step_stride, steps};
      multiply_tile<Fp32>(operands, end - first, wide / PANEL, sums, false);
      for (int row = first; row < end; row++)
        for (int j = 0; j < wide / LANES; j++) put(row, column + j * LANES, sums[(row - first) * SUM_STRIDE + j]);
    }
  }
}

// Calls `finish(query, channel, values)` with the head's answer. Queries come with the softmax's scale and log2(e)
// multiplied into them. After the first block of keys, what was summed up before is scaled to the new largest score.
template <class Finish> void attend(const HeadOperands& head, const AttentionScratch& scratch, Finish finish) {
  const int width = head.width;
  for (int block = 0; block < head.key_count; block += KEY_BLOCK) {
    const int keys = smaller(KEY_BLOCK, head.key_count - block), padded = (keys + PANEL - 1) / PANEL * PANEL;
    const float* values = head.values + block * head.key_stride;
    const bool first = block == 0, last = block + keys == head.key_count;
    pack_keys(head.keys + block * head.key_stride, head.key_stride, keys, width, scratch.keys);

    for (int start = 0; start < head.query_count; start += QUERY_BLOCK) {
      const int queries = smaller(QUERY_BLOCK, head.query_count - start);
      multiply_plain(head.queries + start * head.query_stride, head.query_stride, queries, scratch.keys,
                     PANEL * ptrdiff_t(width), PANEL, width, padded,
                     [&](int row, int key, Vec sum) { store(scratch.scores + row * KEY_BLOCK + key, sum); });
      float factor[QUERY_BLOCK];  // of what was summed before; at the end, of the whole
      for (int row = 0; row < queries; row++) {
        float* scores = scratch.scores + row * KEY_BLOCK;
        const float before = first ? -3e38f : scratch.most[start + row];
        const float most = largest_of_row(scores, keys, before);
        const float shrink = first ? 0.0f : exp2_of_negative(broadcast(before - most))[0];
        const float total = softmax_row(scores, keys, most) + (first ? 0.0f : shrink * scratch.total[start + row]);
        scratch.most[start + row] = most;
        scratch.total[start + row] = total;
        factor[row] = shrink;
      }
      multiply_plain(scratch.scores, KEY_BLOCK, queries, values, PANEL, head.key_stride, keys, width,
                     [&](int row, int channel, Vec sum) {
                       float* output = scratch.outputs + (start + row) * width + channel;
                       if (!first) sum += load(output) * factor[row];
                       if (last)
                         finish(start + row, channel, sum * (1 / scratch.total[start + row]));
                       else
                         store(output, sum);
                     });
    }
  }
}

}  // namespace twins::TWINS_ISA
