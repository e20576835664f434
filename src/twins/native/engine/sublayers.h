// The sublayers of the network, each over passes of tokens that stay in a core's own cache from end to end.
#pragma once

#include <type_traits>

#include "attention.h"
#include "linear.h"
#include "norm.h"
#include "passes.h"
#include "rows.h"

namespace twins::TWINS_ISA {

// Channels-last maps of a group of images.
struct Maps {
  float* tokens;
  int count, height, width, channels;
  int tokens_each() const { return height * width; }
  int tokens_in_all() const { return count * height * width; }
};

template <class F> TWINS_INLINE void for_each(Workers& workers, int count, F task) {
  workers.run(count, [](void* context, int index, int worker) {
#if defined(TWINS_TILES)
    const TileSession session;
#endif
    (*static_cast<F*>(context))(index, worker);
  }, &task);
}

// The part of `count` that falls to one of `parts`.
struct Share {
  int first, end;
};
TWINS_INLINE Share share(int count, int part, int parts) {
  return {int(int64_t(count) * part / parts), int(int64_t(count) * (part + 1) / parts)};
}

template <class D> TWINS_INLINE Rows<D> rows_in(const RowScratch& scratch, int columns) {
  return {reinterpret_cast<typename D::Activation*>(scratch.data), stride_of<typename D::Activation>(columns),
          scratch.exact, stride_of<float>(columns), scratch.scales, scratch.zeros};
}

TWINS_INLINE AttentionScratch attention_scratch(const Scratch& scratch) {
  return {scratch.keys, scratch.values, scratch.scores, scratch.outputs, scratch.products, scratch.most, scratch.total};
}

TWINS_INLINE void add_to(float* to, Vec value) { store(to, load(to) + value); }

// Where attention writes what is sealed later, from row `first` on.
template <class D> TWINS_INLINE auto rows_from(const Rows<D>& rows, int first) {
  auto* written = rows.written() + first * rows.written_stride();
  return AttendedRows<std::remove_pointer_t<decltype(written)>>{written, rows.written_stride()};
}

// What products do with their values: write them as rows of floats, or add them to tokens that lie anywhere.
struct StoreRows {
  float* to;
  ptrdiff_t stride;
  TWINS_INLINE void operator()(int row, int column, Vec value) const { store(to + row * stride + column, value); }
};
struct AddToTokens {
  float* const* tokens;
  TWINS_INLINE void operator()(int row, int column, Vec value) const { add_to(tokens[row] + column, value); }
};

// The normed tokens as sealed rows.
template <class D>
Rows<D> normed(float* const* tokens, int count, int channels, const Norm& norm, const Scratch& scratch) {
  const Rows<D> rows = rows_in<D>(scratch.rows, channels);
  for (int row = 0; row < count; row++)
    layer_norm(tokens[row], channels, norm, [&](int c, Vec value) { rows.put(row, c, value); });
  rows.seal(count, channels);
  return rows;
}

// tokens += fc2(gelu(fc1(rows))) by some pieces of the MLP.
template <class D>
void run_mlp(const Rows<D>& rows, int count, const Block& block, int first_piece, int end_piece, const Scratch& scratch,
             float* const* tokens) {
  int first = 0;
  for (int piece = 0; piece < end_piece; first += block.fc2[piece].inputs, piece++) {
    if (piece < first_piece) continue;
    const Linear& fc2 = block.fc2[piece];
    const Rows<D> hidden = rows_in<D>(scratch.hidden, fc2.inputs);
    multiply(rows, count, block.fc1, first / PANEL, (first + fc2.inputs) / PANEL,
             [=](int row, int column, Vec value) { hidden.put(row, column - first, activation(value)); });
    hidden.seal(count, fc2.inputs);
    multiply(hidden, count, fc2, AddToTokens{tokens});
  }
}

// tokens += proj(attended); tokens += fc2(gelu(fc1(norm2(tokens)))). `attended` is not sealed yet.
template <class D>
void finish_block(float* const* tokens, const Rows<D>& attended, int count, const Block& block, const Scratch& scratch) {
  const int channels = block.proj.outputs;
  attended.seal(count, channels);
  multiply(attended, count, block.proj, AddToTokens{tokens});
  run_mlp(normed<D>(tokens, count, channels, block.norm2, scratch), count, block, 0, block.pieces, scratch, tokens);
}

// Patch embedding, from images (first stage) or from the map before: (H, W) -> (H / patch, W / patch).
template <class D> void embed(const Group& group, const Stage& stage, const Maps& from, const Maps& to, bool from_images) {
  const int patch = stage.patch, inputs = stage.embed.inputs, channels = to.channels;
  const int passes = passes_of(to.tokens_in_all(), MOST_ROWS, *group.workers);
  for_each(*group.workers, passes, [&](int pass, int worker) {
    const Scratch& scratch = group.scratch[worker];
    const auto [first, end] = share(to.tokens_in_all(), pass, passes);
    const Rows<D> rows = rows_in<D>(scratch.rows, inputs);
    for (int row = 0; row < end - first; row++) {
      const int index = (first + row) % to.tokens_each(), image = (first + row) / to.tokens_each();
      const int top = index / to.width * patch, left = index % to.width * patch;
      // What lies outside, where an axis is shorter than the kernel, is zero.
      if (from_images) {
        float* pixels = scratch.qkv;  // channel, row and column of the patch, as the images lie
        for (int c = 0; c < from.channels; c++)
          for (int y = top; y < top + patch; y++, pixels += patch) {
            const float* line = from.tokens + ((ptrdiff_t(image) * from.channels + c) * from.height + y) * from.width;
            for (int j = 0; j < patch; j++)
              pixels[j] = y < from.height && left + j < from.width ? line[left + j] : 0.0f;
          }
        for (int k = 0; k < inputs; k += LANES) rows.put(row, k, load(scratch.qkv + k));
      } else {
        for (int i = 0; i < patch * patch; i++) {
          const int y = top + i / patch, x = left + i % patch;
          const bool inside = y < from.height && x < from.width;
          const float* token = from.tokens + ((ptrdiff_t(image) * from.height + y) * from.width + x) * from.channels;
          for (int c = 0; c < from.channels; c += LANES)
            rows.put(row, i * from.channels + c, inside ? load(token + c) : Vec{});
        }
      }
    }
    rows.seal(end - first, inputs);
    float* projected = scratch.qkv;
    multiply(rows, end - first, stage.embed, StoreRows{projected, channels});
    for (int row = 0; row < end - first; row++) {
      float* token = to.tokens + ptrdiff_t(first + row) * channels;
      layer_norm(projected + row * channels, channels, stage.embed_norm, [&](int c, Vec v) { store(token + c, v); });
    }
  });
}

// Positional encoding generator: a 3x3 depthwise convolution, with the identity in the middle of its kernel.
inline void encode_position(const Group& group, const Stage& stage, const Maps& from, const Maps& to) {
  const int channels = from.channels, lines = from.count * from.height;
  const int parts = smaller(lines, 4 * group.workers->size);
  for_each(*group.workers, parts, [&](int part, int) {
    const auto [first, end] = share(lines, part, parts);
    for (int line = first; line < end; line++)
      for (int x = 0; x < from.width; x++) {
        const int y = line % from.height;
        const int top = y > 0 ? -1 : 0, bottom = y < from.height - 1 ? 1 : 0;
        const int left = x > 0 ? -1 : 0, right = x < from.width - 1 ? 1 : 0;
        const ptrdiff_t here = (ptrdiff_t(line) * from.width + x) * channels;
        for (int c = 0; c < channels; c += LANES) {
          Vec sum = load(stage.peg_bias + c);
          for (int i = top; i <= bottom; i++)
            for (int j = left; j <= right; j++)
              sum += load(from.tokens + here + (ptrdiff_t(i) * from.width + j) * channels + c) *
                     load(stage.peg_weight + (3 * i + j + 4) * channels + c);
          store(to.tokens + here + c, sum);
        }
      }
  });
}

// How windows lie on a map, and what fills those that stick out: see `window_overhang` in geometry.py.
struct Windows {
  int side, down, across, height, width;
  bool clipped;  // real tokens see real ones only; else padded ones take part, as keys and values of zero tokens

  Windows(const Network& network, const Maps& maps)
      : side(network.window), down((maps.height + side - 1) / side), across((maps.width + side - 1) / side),
        height(maps.height), width(maps.width) {
    const bool below = height % side, beside = width % side;
    clipped = network.padding == Padding::mask || (network.padding == Padding::mask_both ? below == beside : !(below || beside));
  }
  int each() const { return down * across; }
  int top(int window) const { return window % each() / across * side; }
  int left(int window) const { return window % across * side; }
  int rows(int window) const { return smaller(side, height - top(window)); }
  int columns(int window) const { return smaller(side, width - left(window)); }
  int real(int window) const { return rows(window) * columns(window); }
  int keys(int window) const { return clipped ? real(window) : side * side; }
};

// Windows in a row make a pass while their keys fit into `most_rows`; the first of each goes to `passes`. Returns how many
// there are.
inline int divide_windows(const Windows& windows, int count, int most_rows, int* passes) {
  int pass_count = 0, filled = most_rows + 1;
  for (int window = 0; window < count; window++) {
    const int keys = windows.keys(window);
    if (filled + keys > most_rows) {
      passes[pass_count++] = window;
      filled = 0;
    }
    filled += keys;
  }
  passes[pass_count] = count;
  return pass_count;
}

// LSA and the MLP after it, whole blocks of windows at a time: no window is ever copied out of the map.
template <class D> void local_block(const Group& group, const Stage& stage, const Block& block, const Maps& maps) {
  const Windows windows(*group.network, maps);
  const int channels = maps.channels, width = channels / stage.heads, count = maps.count * windows.each();
  // Whole windows for each pass, but no more than its buffers hold.
  const int wanted = passes_of_block(maps.tokens_in_all(), channels, *group.workers), each = windows.side * windows.side;
  const int fair = (maps.tokens_in_all() + wanted - 1) / wanted, whole = (fair + each - 1) / each * each;
  int* passes = group.memory.passes;
  const int pass_count = divide_windows(windows, count, smaller(whole, MOST_ROWS), passes);

  for_each(*group.workers, pass_count, [&](int pass, int worker) {
    const Scratch& scratch = group.scratch[worker];
    float* tokens[MOST_ROWS];
    int slots[MOST_ROWS];  // of a token's queries, keys and values; a window's real tokens come before its padded ones
    HeadElement* qkv = reinterpret_cast<HeadElement*>(scratch.qkv);
    const ptrdiff_t head_stride = MOST_ROWS * width;
    const auto at = [=](int slot, int column) {
      return qkv + column / width * head_stride + slot * width + column % width;
    };
    int rows = 0, slot = 0;
    for (int window = passes[pass]; window < passes[pass + 1]; window++) {
      const ptrdiff_t line = ptrdiff_t(window / windows.each()) * maps.height + windows.top(window);
      const ptrdiff_t corner = line * maps.width + windows.left(window);
      for (int y = 0; y < windows.rows(window); y++)
        for (int x = 0; x < windows.columns(window); x++, slot++) {
          slots[rows] = slot;
          tokens[rows++] = maps.tokens + (corner + ptrdiff_t(y) * maps.width + x) * channels;
        }
      for (int padded = windows.real(window); padded < windows.keys(window); padded++, slot++)
        for (int c = 0; c < 3 * channels; c += LANES) store_as(at(slot, c), load(block.qkv.bias + c));
    }
    multiply(normed<D>(tokens, rows, channels, block.norm1, scratch), rows, block.qkv,
             [at, slots = &slots[0]](int row, int column, Vec value) { store_as(at(slots[row], column), value); });

    const Rows<D> attended = rows_in<D>(scratch.rows, channels);
    int first = 0;
    for (int window = passes[pass]; window < passes[pass + 1]; first += windows.real(window), window++) {
      const HeadElement* queries = qkv + slots[first] * width;
      attend({queries, head_stride, windows.real(window), queries + stage.heads * head_stride,
              queries + 2 * stage.heads * head_stride, head_stride, windows.keys(window), stage.heads, width},
             attention_scratch(scratch), rows_from(attended, first));
    }
    finish_block(tokens, attended, rows, block, scratch);
  });
}

// Keys and values of a group's images: of their sub-sampled maps, or the tokens themselves where the ratio is 1.
template <class D>
void subsample_keys_values(const Group& group, const Stage& stage, const Block& block, const Maps& maps, int down, int across) {
  const int channels = maps.channels, width = channels / stage.heads, ratio = block.sr_ratio, each = down * across;
  const int in_all = maps.count * each;
  const int passes = passes_of(in_all, MOST_ROWS, *group.workers);
  for_each(*group.workers, passes, [&](int pass, int worker) {
    const Scratch& scratch = group.scratch[worker];
    const Share part = share(in_all, pass, passes);
    const int first = part.first, end = part.end;  // by names that a lambda may hold
    float* subsampled[MOST_ROWS];
    for (int row = 0; row < end - first; row++)
      subsampled[row] = block.sr ? scratch.qkv + row * channels : maps.tokens + ptrdiff_t(first + row) * channels;
    for (int i = 0; block.sr && i < ratio; i++) {  // a row of the convolution's kernel at a time
      const Rows<D> rows = rows_in<D>(scratch.rows, ratio * channels);
      for (int row = 0; row < end - first; row++) {
        const int index = (first + row) % each, image = (first + row) / each;
        const int y = index / across * ratio + i;
        for (int j = 0; j < ratio; j++) {
          const int x = index % across * ratio + j, at = j * channels;
          const float* token = maps.tokens + ((ptrdiff_t(image) * maps.height + y) * maps.width + x) * channels;
          if (y < maps.height && x < maps.width)
            layer_norm(token, channels, block.norm1, [&](int c, Vec value) { rows.put(row, at + c, value); });
          else
            for (int c = 0; c < channels; c += LANES) rows.put(row, at + c, Vec{});
        }
      }
      rows.seal(end - first, ratio * channels);
      if (i == 0)
        multiply(rows, end - first, block.sr[i], StoreRows{scratch.qkv, channels});
      else
        multiply(rows, end - first, block.sr[i], AddToTokens{subsampled});
    }
    HeadElement* key_values = reinterpret_cast<HeadElement*>(group.memory.key_values);
    multiply(normed<D>(subsampled, end - first, channels, block.sr ? block.sr_norm : block.norm1, scratch), end - first,
             block.kv, [=](int row, int column, Vec value) {
               const int key = (first + row) % each, image = (first + row) / each;
               HeadElement* head = key_values + (ptrdiff_t(image) * 2 * channels + column / width * width) * each;
               store_as(head + key * width + column % width, value);
             });
  });
}

// GSA and the MLP after it: first the sub-sampled keys and values, then passes of tokens end to end.
template <class D> void global_block(const Group& group, const Stage& stage, const Block& block, const Maps& maps) {
  const int channels = maps.channels, width = channels / stage.heads, ratio = block.sr_ratio;
  const int down = larger(maps.height / ratio, 1), across = larger(maps.width / ratio, 1), keys = down * across;
  subsample_keys_values<D>(group, stage, block, maps, down, across);

  const int passes = passes_of_block(maps.tokens_in_all(), channels, *group.workers);
  for_each(*group.workers, passes, [&](int pass, int worker) {
    const Scratch& scratch = group.scratch[worker];
    const auto [first, end] = share(maps.tokens_in_all(), pass, passes);
    const int rows = end - first;
    const ptrdiff_t head_stride = MOST_ROWS * width, key_stride = keys * width;
    HeadElement* queries = reinterpret_cast<HeadElement*>(scratch.qkv);
    float* tokens[MOST_ROWS];
    for (int row = 0; row < rows; row++) tokens[row] = maps.tokens + ptrdiff_t(first + row) * channels;
    multiply(normed<D>(tokens, rows, channels, block.norm1, scratch), rows, block.q,
             [=](int row, int column, Vec value) {
               store_as(queries + column / width * head_stride + row * width + column % width, value);
             });

    const Rows<D> attended = rows_in<D>(scratch.rows, channels);
    for (int row = 0; row < rows;) {  // the pass's part in each image
      const int image = (first + row) / maps.tokens_each();
      const int count = smaller(rows - row, (image + 1) * maps.tokens_each() - (first + row));
      const HeadElement* key = reinterpret_cast<const HeadElement*>(group.memory.key_values) +
                               ptrdiff_t(image) * 2 * channels * keys;
      attend({queries + row * width, head_stride, count, key, key + stage.heads * key_stride, key_stride, keys,
              stage.heads, width},
             attention_scratch(scratch), rows_from(attended, row));
      row += count;
    }
    finish_block(tokens, attended, rows, block, scratch);
  });
}

}  // namespace twins::TWINS_ISA
