// A block over one image's last map: few tokens and the widest weights, so that their way from memory is what takes time.
// Workers share the columns of a product instead of its rows, and each reads but its own part of the weights.
#pragma once

#include "sublayers.h"

namespace twins::TWINS_ISA {

// Whether a block is to be computed so: attention among all tokens, of which there are few, and several workers.
inline bool shares_columns(const Group& group, const Block& block, const Maps& maps) {
  if (group.workers->size == 1 || maps.count > 1 || maps.tokens_each() > MOST_SHARED_ROWS) return false;
  if (!block.local) return block.sr == nullptr;
  const Windows windows(*group.network, maps);
  return windows.each() == 1 && windows.keys(0) == windows.real(0);
}

// Calls `task(first, end, part, worker)` for every worker's part of `count`.
template <class F> void for_each_part(const Group& group, int count, F task) {
  const int parts = smaller(count, group.workers->size);
  for_each(*group.workers, parts, [&](int part, int worker) {
    const auto [first, end] = share(count, part, parts);
    task(first, end, part, worker);
  });
}

// The same for panels of a matrix, by twos, as products take them.
template <class F> void for_each_columns(const Group& group, int outputs, F task) {
  const int panels = outputs / PANEL;
  for_each_part(group, (panels + 1) / 2,
                [&](int first, int end, int, int worker) { task(2 * first, smaller(2 * end, panels), worker); });
}

template <class D> void shared_block(const Group& group, const Stage& stage, const Block& block, const Maps& maps) {
  const int channels = maps.channels, width = channels / stage.heads, count = maps.tokens_each();
  const ptrdiff_t head_stride = ptrdiff_t(count) * width;
  HeadElement* qkv = reinterpret_cast<HeadElement*>(group.memory.shared);  // head after head, queries first
  // Past the last value, which products read on from in whole blocks of rows.
  float* attended = group.memory.shared + ptrdiff_t(3 * count + ROW_BLOCK) * channels;
  float* tokens[MOST_SHARED_ROWS];
  for (int row = 0; row < count; row++) tokens[row] = maps.tokens + ptrdiff_t(row) * channels;

  // Queries, keys and values by columns, attention by heads, its projection by columns again, the MLP by pieces.
  for_each_columns(group, 3 * channels, [&](int first, int end, int worker) {
    const Rows<D> rows = normed<D>(tokens, count, channels, block.norm1, group.scratch[worker]);
    const int queries = channels / PANEL;
    const auto multiply_into = [&](HeadElement* to, const Linear& linear, int first_panel, int end_panel) {
      multiply(rows, count, linear, first_panel, end_panel, [=](int row, int column, Vec value) {
        store_as(to + column / width * head_stride + row * width + column % width, value);
      });
    };
    multiply_into(qkv, block.q, smaller(first, queries), smaller(end, queries));
    multiply_into(qkv + count * ptrdiff_t(channels), block.kv, larger(first, queries) - queries,
                  larger(end, queries) - queries);
  });
  for_each_part(group, stage.heads, [&](int first, int end, int, int worker) {
    const HeadElement* queries = qkv + first * head_stride;
    attend({queries, head_stride, count, queries + count * channels, queries + 2 * count * channels, head_stride, count,
            end - first, width},
           attention_scratch(group.scratch[worker]),
           AttendedRows<float>{attended + first * width, channels});
  });
  for_each_columns(group, channels, [&](int first, int end, int worker) {
    const Rows<D> rows = rows_in<D>(group.scratch[worker].rows, channels);
    for (int row = 0; row < count; row++)
      for (int c = 0; c < channels; c += LANES) rows.put(row, c, load(attended + row * channels + c));
    rows.seal(count, channels);
    multiply(rows, count, block.proj, first, end, AddToTokens{tokens});
  });
  // What pieces contribute adds up in a buffer for each part, and then in the tokens.
  for_each_part(group, block.pieces, [&](int first, int end, int part, int worker) {
    float* sums = group.scratch[part].qkv;
    __builtin_memset(sums, 0, sizeof(float) * count * channels);
    const Scratch& scratch = group.scratch[worker];
    float* sums_of_tokens[MOST_SHARED_ROWS];
    for (int row = 0; row < count; row++) sums_of_tokens[row] = sums + ptrdiff_t(row) * channels;
    run_mlp(normed<D>(tokens, count, channels, block.norm2, scratch), count, block, first, end, scratch, sums_of_tokens);
  });
  const int parts = smaller(block.pieces, group.workers->size);
  for_each_part(group, count, [&](int first, int end, int, int) {
    for (int part = 0; part < parts; part++)
      for (int row = first; row < end; row++)
        for (int c = 0; c < channels; c += LANES) add_to(tokens[row] + c, load(group.scratch[part].qkv + row * channels + c));
  });
}

}  // namespace twins::TWINS_ISA
