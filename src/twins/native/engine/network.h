// The whole network over a group of images, top to bottom.
#pragma once

#include "shared_block.h"

namespace twins::TWINS_ISA {

inline void norm_maps(const Group& group, const Norm& norm, const Maps& maps) {
  const int parts = passes_of(maps.tokens_in_all(), MOST_ROWS, *group.workers);
  for_each(*group.workers, parts, [&](int part, int) {
    const auto [first, end] = share(maps.tokens_in_all(), part, parts);
    for (int i = first; i < end; i++) {
      float* token = maps.tokens + ptrdiff_t(i) * maps.channels;
      layer_norm(token, maps.channels, norm, [&](int c, Vec value) { store(token + c, value); });
    }
  });
}

// Returns the stage's maps, which lie in one of the group's two buffers.
template <class D> Maps run_stage(const Group& group, const Stage& stage, const Maps& before, bool first) {
  float *here = group.memory.map, *there = group.memory.other_map;
  if (before.tokens == here) {
    float* swapped = here;
    here = there;
    there = swapped;
  }
  Maps maps = {here, before.count, larger(before.height / stage.patch, 1), larger(before.width / stage.patch, 1), stage.dim};
  embed<D>(group, stage, before, maps, first);
  for (int i = 0; i < stage.depth; i++) {
    const Block& block = stage.blocks[i];
    if (shares_columns(group, block, maps))
      shared_block<D>(group, stage, block, maps);
    else if (block.local)
      local_block<D>(group, stage, block, maps);
    else
      global_block<D>(group, stage, block, maps);
    if (i == 0) {
      const Maps encoded = {there, maps.count, maps.height, maps.width, maps.channels};
      encode_position(group, stage, maps, encoded);
      maps = encoded;
    }
  }
  if (stage.normed) norm_maps(group, stage.norm, maps);
  return maps;
}

// Norm, mean over all tokens, head.
template <class D> void classify(const Group& group, const Maps& maps, float* logits) {
  const Network& network = *group.network;
  const Linear& head = network.head;
  const int channels = maps.channels;
  float* pooled = head.outputs ? group.memory.pooled : logits;
  for_each(*group.workers, maps.count, [&](int image, int) {
    float* mean = pooled + ptrdiff_t(image) * channels;
    for (int c = 0; c < channels; c += LANES) store(mean + c, Vec{});
    for (int i = 0; i < maps.tokens_each(); i++)
      layer_norm(maps.tokens + (ptrdiff_t(image) * maps.tokens_each() + i) * channels, channels, network.norm,
                 [&](int c, Vec value) { store(mean + c, load(mean + c) + value); });
    for (int c = 0; c < channels; c += LANES) store(mean + c, load(mean + c) * (1.0f / maps.tokens_each()));
  });
  if (!head.outputs) return;
  const int parts = smaller(panels_of(head), group.workers->size);
  for_each(*group.workers, parts, [&](int part, int worker) {
    const Rows<D> rows = rows_in<D>(group.scratch[worker].rows, channels);
    for (int image = 0; image < maps.count; image++)
      for (int c = 0; c < channels; c += LANES) rows.put(image, c, load(pooled + ptrdiff_t(image) * channels + c));
    rows.seal(maps.count, channels);
    const auto [first, end] = share(panels_of(head), part, parts);
    const int classes = head.outputs;
    multiply(rows, maps.count, head, first, end, [=](int image, int column, Vec value) {
      float* to = logits + ptrdiff_t(image) * classes;
      for (int lane = 0; lane < LANES && column + lane < classes; lane++) to[column + lane] = value[lane];
    });
  });
}

template <class D> void run_group(const Group& group) {
  const Network& network = *group.network;
  Maps maps = {const_cast<float*>(group.images), group.count, group.height, group.width, network.in_chans};
  float* const* output = group.outputs;
  for (int s = 0; s < network.depth; s++) {
    maps = run_stage<D>(group, network.stages[s], maps, s == 0);
    if (network.stages[s].wanted) __builtin_memcpy(*output++, maps.tokens, sizeof(float) * maps.tokens_in_all() * ptrdiff_t(maps.channels));
  }
  if (network.classifies) classify<D>(group, maps, *output);
}

template <class D> void run_product(const Linear& linear, int count, int repeats, const Scratch& scratch) {
#if defined(TWINS_TILES)
  const TileSession session;
#endif
  const Rows<D> rows = rows_in<D>(scratch.rows, linear.inputs);
  for (int row = 0; row < count; row++)
    for (int c = 0; c < linear.inputs; c += LANES) rows.put(row, c, broadcast(1.0f + row));
  rows.seal(count, linear.inputs);
  for (int i = 0; i < repeats; i++)
    multiply(rows, count, linear, StoreRows{scratch.qkv, linear.outputs});
}

#if defined(TWINS_TILES)
// What tile registers reach without loads.
template <class D> int64_t run_peak(int repeats) {
  const TileSession session;
  for (int i = 0; i < repeats; i++) {
    multiply_tiles<D, 0, 4, 6>();
    multiply_tiles<D, 1, 4, 7>();
    multiply_tiles<D, 2, 5, 6>();
    multiply_tiles<D, 3, 5, 7>();
  }
  return int64_t(repeats) * 4 * TILE_HEIGHT * PANEL * TILE_STEPS * D::GROUP;
}
template <class D> constexpr RunPeak PEAK = run_peak<D>;
#else
template <class D> constexpr RunPeak PEAK = nullptr;
#endif

// What an instruction set has for a dtype.
template <class D> constexpr Kernels kernels() {
  return {.run_group = run_group<D>, .run_product = run_product<D>, .run_peak = PEAK<D>,
          .blocking = {MOST_ROWS, sizeof(typename D::Activation), GROUP_BYTES}};
}

}  // namespace twins::TWINS_ISA
