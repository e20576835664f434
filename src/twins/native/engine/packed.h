// A network as `packing.py` lays it out in one block of memory: what the engine reads, and nothing that it owns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace twins {

constexpr int64_t MAGIC = 0x32736e697774;  // "twins2": the first word
constexpr int MOST_TOKENS_OF_WINDOW = 98;  // two windows of 7 x 7
constexpr int PANEL = 16;  // columns of a weight matrix that lie together; every width of every network divides by it

enum class Dtype : int64_t { fp32 = 0, bf16 = 1, int8 = 2 };
enum class Padding : int64_t { mask = 0, zero = 1, mask_both = 2 };

// y = W x + b, W cut into panels of PANEL columns. Inside a panel weights lie row by row, and of 2 (bf16) or 4 (int8)
// successive rows the weights of a column lie side by side, as the dot-product instructions read them.
struct Linear {
  int inputs, outputs;
  const void* weight;
  const float* bias;          // as many as columns, padded to whole panels with zeros; none where it is added elsewhere
  const float* column_scale;  // int8 only: what a weight of 1 stands for
  const float* column_sum;    // int8 only: sum of the column's weights, for the zero point of the rows
};

struct Norm {
  const float* weight;
  const float* bias;
  float eps;
};

struct Block {
  bool local;  // LSA, else GSA
  Norm norm1, norm2;
  Linear q, kv;      // queries; keys and values
  Linear qkv;        // LSA only: both, which lie one after the other
  int sr_ratio;      // GSA: how much smaller the map is that keys and values come from; LSA: 1
  const Linear* sr;  // the shrinking convolution, a product for each row of its kernel; none where the ratio is 1
  Norm sr_norm;
  Linear proj, fc1;
  const Linear* fc2;  // in pieces one after the other: each reads some of the hidden channels, and their outputs add up
  int pieces;
};

struct Stage {
  int dim, heads, patch;
  Linear embed;
  Norm embed_norm;
  const float* peg_weight;  // (9, dim), identity included
  const float* peg_bias;
  const Block* blocks;
  int depth;
  bool normed;  // a norm on the stage's output, which the next stage reads too
  Norm norm;
  bool wanted;  // its map is an output
};

struct Network {
  Dtype dtype;
  int in_chans, window;
  Padding padding;
  const Stage* stages;
  int depth;
  bool classifies;  // else its outputs are maps
  Norm norm;
  Linear head;  // no outputs: the output is the pooled features
};

}  // namespace twins
