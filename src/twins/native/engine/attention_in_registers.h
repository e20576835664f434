// Softmax attention of one head by vector registers, in single precision.
#pragma once

#include "head.h"
#include "register_tile.h"

namespace twins::TWINS_ISA {

// Keys as the right operand of a product: panels of PANEL keys, channel after channel. Keys past the end are zeros.
TWINS_INLINE void pack_keys(const float* keys, int count, int width, float* panels) {
  for (int key = 0; key < count; key += LANES)
    for (int channel = 0; channel < width; channel += LANES) {
      Vec square[LANES];
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++) square[i] = key + i < count ? load(keys + (key + i) * width + channel) : Vec{};
      transpose(square);
      float* panel = panels + key / PANEL * PANEL * ptrdiff_t(width) + channel * PANEL + key % PANEL;
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++) store(panel + i * PANEL, square[i]);
    }
}

// One row of scores becomes weights, 2^(score - largest); returns their sum. Scores past the end become 0.
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

// One head. Queries come with the softmax's scale and log2(e) multiplied into them. After the first block of keys, what was
// summed up before is scaled to the new largest score.
template <class T>
TWINS_INLINE void attend_one(const HeadOperands<float>& head, const AttentionScratch& scratch, const AttendedRows<T>& to) {
  constexpr int ROWS = QUERY_BLOCK / TILE_ROWS * TILE_ROWS;
  const int width = head.width;
  for (int block = 0; block < head.key_count; block += KEY_BLOCK) {
    const int keys = smaller(KEY_BLOCK, head.key_count - block), padded = (keys + PANEL - 1) / PANEL * PANEL;
    const float* values = head.values + block * width;
    const bool first = block == 0, last = block + keys == head.key_count;
    pack_keys(head.keys + block * width, keys, width, scratch.keys);

    for (int start = 0; start < head.query_count; start += ROWS) {
      const int queries = smaller(ROWS, head.query_count - start);
      multiply_plain(head.queries + start * width, width, queries, scratch.keys,
                     PANEL * ptrdiff_t(width), PANEL, width, padded,
                     [&](int row, int key, Vec sum) { store(scratch.scores + row * KEY_BLOCK + key, sum); });
      float factor[ROWS];  // of what was summed before; at the end, of the whole
      for (int row = 0; row < queries; row++) {
        float* scores = scratch.scores + row * KEY_BLOCK;
        const float before = first ? -3e38f : scratch.most[start + row];
        const float most = largest_of_row(scores, keys, before);
        const float shrink = first ? 0.0f : exp2_of_negative(broadcast(before - most))[0];
        float total = softmax_row(scores, keys, most);
        if (!first) total += shrink * scratch.total[start + row];
        scratch.most[start + row] = most;
        scratch.total[start + row] = total;
        factor[row] = shrink;
      }
      multiply_plain(scratch.scores, KEY_BLOCK, queries, values, PANEL, width, keys, width,
                     [&](int row, int channel, Vec sum) {
                       float* output = scratch.outputs + (start + row) * width + channel;
                       if (!first) sum += load(output) * factor[row];
                       if (last)
                         store_as(to.data + (start + row) * to.stride + channel, sum * (1 / scratch.total[start + row]));
                       else
                         store(output, sum);
                     });
    }
  }
}

template <class T>
void attend(const HeadOperands<float>& heads, const AttentionScratch& scratch, const AttendedRows<T>& to) {
  for (int h = 0; h < heads.heads; h++) {
    HeadOperands<float> head = heads;
    head.queries += h * heads.query_stride, head.keys += h * heads.key_stride, head.values += h * heads.key_stride;
    attend_one(head, scratch, AttendedRows<T>{to.data + h * heads.width, to.stride});
  }
}

}  // namespace twins::TWINS_ISA
