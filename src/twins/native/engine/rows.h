// The left operand of a product: a row a token, written in single precision and sealed into what the product reads.
#pragma once

#include "dtypes.h"
#include "workspace.h"

namespace twins::TWINS_ISA {

// The lowest byte of each lane. Compilers turn the obvious conversion into single bytes.
TWINS_INLINE void store_low_bytes(uint8_t* to, IntVec value) {
  typedef uint8_t Bytes __attribute__((vector_size(4 * LANES)));
  const Bytes bytes = bits_of<Bytes>(value);
#if TWINS_LANES == 4
  const auto low = __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12);
#elif TWINS_LANES == 8
  const auto low = __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 16, 20, 24, 28);
#else
  const auto low =
      __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60);
#endif
  __builtin_memcpy(to, &low, sizeof low);
}

template <class D> struct Rows {
  typename D::Activation* data;
  ptrdiff_t stride;
  float* exact;   // int8 only: rows as they are written, before their range is known
  ptrdiff_t exact_stride;
  float* scale;   // int8 only, one a row: what a step of the byte stands for
  float* zero;    // int8 only, one a row: the byte of 0

  // Where rows are written before they are sealed, and how far apart they lie there.
  TWINS_INLINE auto* written() const {
    if constexpr (D::QUANTISED)
      return exact;
    else
      return data;
  }
  TWINS_INLINE ptrdiff_t written_stride() const { return D::QUANTISED ? exact_stride : stride; }

  TWINS_INLINE void put(int row, int column, Vec value) const {
    store_as(written() + row * written_stride() + column, value);
  }

  // To be called once rows are written: `columns` is a multiple of PANEL.
  void seal(int count, int columns) const {
    if constexpr (D::QUANTISED)
      for (int row = 0; row < count; row++) quantise(row, columns);
  }

 private:
  __attribute__((noinline)) void quantise(int row, int columns) const {
    const float* from = exact + row * exact_stride;
    Vec least = {}, most = {};  // zero lies inside, so that it has a byte of its own
    Vec finite = {};            // 0, or NaN where a value is infinite or NaN, which bytes and comparisons would hide
    for (int c = 0; c < columns; c += LANES) {
      least = min(least, load(from + c));
      most = max(most, load(from + c));
      finite += load(from + c) * 0.0f;
    }
    const float low = -max_of_lanes(-least), high = max_of_lanes(most);
    scale[row] = larger((high - low) / D::MOST, 1e-12f) + sum_of_lanes(finite);
    const float per_step = 1 / scale[row];
    zero[row] = round_to_integer(broadcast(-low * per_step))[0];
    for (int c = 0; c < columns; c += LANES) {
      const Vec steps = load(from + c) * per_step + zero[row];
      const Vec within = min(max(steps, Vec{}), broadcast(float(D::MOST)));
      store_low_bytes(data + row * stride + c, bits_of<IntVec>(within + ROUNDER));  // a whole float's bits end in it
    }
  }
};

// Sums of the rows from `first` up to `end`, and of successive vectors of columns from `column` on.
template <class D> struct SumBlock {
  const typename D::Sum* sums;
  ptrdiff_t stride;  // from one row's sums to the next
  int first, end, column, vectors;
};

// What sums of a vector of columns stand for: their bias and, of integer sums, scale and zero point.
template <class D> struct Columns {
  Vec bias = {}, scale = {}, sum = {};

  TWINS_INLINE Columns(const Linear& linear, int column) {
    if (linear.bias) bias = load(linear.bias + column);
    if constexpr (D::QUANTISED) {
      scale = load(linear.column_scale + column);
      sum = load(linear.column_sum + column);
    }
  }

  TWINS_INLINE Vec value_of(typename D::Sum total, const Rows<D>& rows, int row) const {
    if constexpr (D::QUANTISED)
      return (__builtin_convertvector(total, Vec) - sum * rows.zero[row]) * (scale * rows.scale[row]) + bias;
    else
      return total + bias;
  }
};

// What becomes of a product's sums. The loops of a product are compiled once a dtype, and what differs is called for each
// block of sums, so that building the engine takes no longer than it must.
template <class D> struct Finisher {
  void (*run)(const void* finish, const Linear& linear, const Rows<D>& rows, const SumBlock<D>& block);
  const void* finish;

  TWINS_INLINE void operator()(const Linear& linear, const Rows<D>& rows, const SumBlock<D>& block) const {
    run(finish, linear, rows, block);
  }
};

// Calls `finish(row, column, values)` with LANES values, bias included, for every vector of a block.
template <class D, class Finish>
__attribute__((noinline)) void finish_sums(const void* context, const Linear& linear, const Rows<D>& rows_of_sums,
                                                    const SumBlock<D>& block) {
  const Finish finish = *static_cast<const Finish*>(context);  // a copy, so that it stays in registers
  const Rows<D> rows = rows_of_sums;
  const int first = block.first, end = block.end;
  for (int j = 0; j < block.vectors; j++) {
    const int column = block.column + j * LANES;
    const Columns<D> columns(linear, column);
    const typename D::Sum* sum = block.sums + j;
    for (int row = first; row < end; row++, sum += block.stride) finish(row, column, columns.value_of(*sum, rows, row));
  }
}

}  // namespace twins::TWINS_ISA
