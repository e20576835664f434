// Softmax attention by tile registers: queries, keys, values and weights are bfloat16, scores, sums and the
// softmax single precision.
#pragma once

#include "amx.h"
#include "head.h"

namespace twins::TWINS_ISA {

constexpr int KEYS_OF_STEP = 2 * TILE_STEPS;  // so many keys are the depth of a tile, when values are weighed

// A square of PANEL keys and up to so many pairs of channels, turned over its diagonal: of each pair, all keys.
template <int PAIRS> TWINS_INLINE void pack_square(const uint16_t* keys, int count, int width, uint16_t* panel) {
  static_assert(LANES == PANEL);
  Vec square[LANES];  // of pairs, that is words
#pragma GCC unroll 16
  for (int i = 0; i < LANES; i++) {
    square[i] = Vec{};
    if (i < count) __builtin_memcpy(&square[i], keys + i * width, 4 * PAIRS);
  }
  transpose(square);
#pragma GCC unroll 16
  for (int i = 0; i < PAIRS; i++) __builtin_memcpy(panel + i * 2 * PANEL, &square[i], LINE);
}

// Keys as the right operand of queries: panels of PANEL keys, in which a pair of channels lies together for each key.
// Keys from `count` up to `padded` are zeros.
TWINS_INLINE void pack_keys(const uint16_t* keys, int count, int padded, int width, uint16_t* panels) {
  for (int key = 0; key < padded; key += PANEL) {
    int channel = 0;
    for (; channel + 2 * LANES <= width; channel += 2 * LANES)
      pack_square<LANES>(keys + key * width + channel, count - key, width, panels + key * width + channel * PANEL);
    if (channel < width)
      pack_square<LANES / 2>(keys + key * width + channel, count - key, width, panels + key * width + channel * PANEL);
  }
}

// Values as the right operand of weights: panels of PANEL channels, in which a pair of keys lies together for each channel.
// Values from `count` up to `padded` keys are zeros.
TWINS_INLINE void pack_values(const uint16_t* values, int count, int padded, int width, uint16_t* panels) {
  typedef uint16_t Half __attribute__((vector_size(2 * PANEL)));
  for (int key = 0; key < padded; key += 2)
    for (int channel = 0; channel < width; channel += PANEL) {
      Half even = {}, odd = {};
      if (key < count) __builtin_memcpy(&even, values + key * width + channel, sizeof even);
      if (key + 1 < count) __builtin_memcpy(&odd, values + (key + 1) * width + channel, sizeof odd);
      const auto pairs = __builtin_shufflevector(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24,
                                                 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      __builtin_memcpy(panels + channel * padded + key * PANEL, &pairs, sizeof pairs);
    }
}

constexpr float NEVER = -1e30f;  // a score whose weight is zero

// A row of VECTORS * LANES scores becomes weights 2^(score - largest) of bfloat16 in its place, next to nothing past `count`,
// which lies in the last two vectors. Returns their sum; `most` is the largest score before and after.
template <int VECTORS> TWINS_INLINE float softmax_row(float* scores, int count, float& most) {
  Vec score[VECTORS];
  Vec largest = broadcast(most);
#pragma GCC unroll 8
  for (int j = 0; j < VECTORS; j++) {
    score[j] = load(scores + j * LANES);
    if (j >= VECTORS - 2) score[j] = lane_numbers() < count - j * LANES ? score[j] : broadcast(NEVER);
    largest = max(largest, score[j]);
  }
  most = max_of_lanes(largest);
  const Vec offset = broadcast(most);
  Vec total = {};
#pragma GCC unroll 8
  for (int j = 0; j < VECTORS; j++) {
    const Vec weight = short_exp2_of_negative(score[j] - offset);
    store_as(reinterpret_cast<uint16_t*>(scores) + j * LANES, weight);
    total += weight;
  }
  return sum_of_lanes(total);
}

// Attention in four steps for every head, block of keys and block of queries: scores, their softmax, the products of
// weights with values, and what becomes of these. The steps of four successive blocks take turns: what one kind of
// registers stores has arrived in memory by the time that the other reads it.
template <class T> class TiledAttention {
 public:
  TiledAttention(const HeadOperands<uint16_t>& heads, const AttentionScratch& scratch, const AttendedRows<T>& to)
      : heads(heads), scratch(scratch), to(to), query_blocks(blocks_of(heads.query_count, QUERY_BLOCK)),
        key_blocks(blocks_of(heads.key_count, KEY_BLOCK)) {}

  void run() {
    const int count = heads.heads * key_blocks * query_blocks;
    for (int i = 0; i < count + 3; i++) {
      if (i < count) blocks[i % 4] = score(i);
      if (i >= 3) accumulate(blocks[(i - 3) % 4]);
      if (i >= 2 && i - 2 < count) weigh(blocks[(i - 2) % 4]);
      if (i >= 1 && i - 1 < count) softmax(blocks[(i - 1) % 4]);
    }
  }

 private:
  struct Block {
    int head, start, queries, keys, padded;  // first query; how many queries and keys, and these up to whole tiles
    bool first, last;                        // of these queries' blocks of keys
    float* scores;
    const uint16_t* values;
    float factor[QUERY_BLOCK];  // of what was summed before
    float share[QUERY_BLOCK];   // of a weight in the whole
  };

  static int blocks_of(int count, int size) { return (count + size - 1) / size; }

  Block score(int i) {
    const int width = heads.width, unit = i / query_blocks, key = unit % key_blocks * KEY_BLOCK;
    uint16_t *keys_packed = reinterpret_cast<uint16_t*>(scratch.keys),
             *values_packed = reinterpret_cast<uint16_t*>(scratch.values) + unit % 3 * KEY_BLOCK * width;
    Block block;
    block.head = unit / key_blocks;
    block.start = i % query_blocks * QUERY_BLOCK;
    block.queries = smaller(QUERY_BLOCK, heads.query_count - block.start);
    block.keys = smaller(KEY_BLOCK, heads.key_count - key);
    block.padded = blocks_of(block.keys, KEYS_OF_STEP) * KEYS_OF_STEP;
    block.first = key == 0;
    block.last = key + block.keys == heads.key_count;
    block.scores = scratch.scores + i % 3 * QUERY_BLOCK * KEY_BLOCK;
    block.values = values_packed;
    if (block.start == 0) {
      const ptrdiff_t from = block.head * heads.key_stride + key * width;
      pack_keys(heads.keys + from, block.keys, block.padded, width, keys_packed);
      pack_values(heads.values + from, block.keys, block.padded, width, values_packed);
    }
    const TileDepth depth(width / 2);
    for (int k = 0; k < block.padded; k += 2 * PANEL)
      multiply_block<Bf16>({heads.queries + block.head * heads.query_stride + block.start * width, 2 * width,
                            keys_packed + k * width, 2 * PANEL * width},
                           block.queries, 2, depth, block.scores + k, 4 * KEY_BLOCK, [](int) {});
    return block;
  }

  // The number of vectors is known when it compiles, so that a row stays in registers.
  template <int VECTORS = KEYS_OF_STEP / LANES> void softmax(Block& block) {
    if constexpr (VECTORS < KEY_BLOCK / LANES)
      if (block.padded > VECTORS * LANES) return softmax<VECTORS + KEYS_OF_STEP / LANES>(block);
    for (int row = 0; row < block.queries; row++) {
      float &most = scratch.most[block.start + row], &total = scratch.total[block.start + row];
      const float before = block.first ? NEVER : most;
      float now = before;
      const float sum = softmax_row<VECTORS>(block.scores + row * KEY_BLOCK, block.keys, now);
      if (!block.first) block.factor[row] = exp2_of_negative(broadcast(before - now))[0];
      total = block.first ? sum : sum + block.factor[row] * total;
      block.share[row] = block.last ? 1 / total : 1.0f;
      most = now;
    }
  }

  void weigh(const Block& block) {
    const TileDepth depth(block.padded / 2);
    for (int c = 0; c < heads.width; c += 2 * PANEL)
      multiply_block<Bf16>({block.scores, 4 * KEY_BLOCK, block.values + c * block.padded, 2 * PANEL * block.padded},
                           block.queries, smaller(heads.width - c, 2 * PANEL) / PANEL, depth, scratch.products + c,
                           sizeof(float) * heads.width, [](int) {});
  }

  void accumulate(const Block& block) {
    for (int row = 0; row < block.queries; row++) {
      const int query = block.start + row;
      for (int c = 0; c < heads.width; c += LANES) {
        Vec sum = load(scratch.products + row * heads.width + c);
        float* before = scratch.outputs + query * heads.width + c;
        if (!block.first) sum += load(before) * block.factor[row];
        if (block.last)
          store_as(to.data + query * to.stride + block.head * heads.width + c, sum * block.share[row]);
        else
          store(before, sum);
      }
    }
  }

  const HeadOperands<uint16_t>& heads;
  const AttentionScratch& scratch;
  const AttendedRows<T>& to;
  const int query_blocks, key_blocks;
  Block blocks[4];
};

// Queries come with the softmax's scale and log2(e) multiplied into them. After the first block of keys, what was summed up
// before is scaled to the new largest score.
template <class T>
void attend(const HeadOperands<uint16_t>& heads, const AttentionScratch& scratch, const AttendedRows<T>& to) {
  TiledAttention<T>(heads, scratch, to).run();
}

}  // namespace twins::TWINS_ISA
