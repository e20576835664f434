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

  TWINS_INLINE void put(int row, int column, Vec value) const {
    if constexpr (D::QUANTISED)
      store(exact + row * exact_stride + column, value);
    else
      store_as(data + row * stride + column, value);
  }

  // To be called once rows are written: `columns` is a multiple of PANEL.
  void seal(int count, int columns) const {
    if constexpr (D::QUANTISED)
      for (int row = 0; row < count; row++) quantise(row, columns);
  }

 private:
  void quantise(int row, int columns) const {
    const float* from = exact + row * exact_stride;
    Vec least = {}, most = {};  // zero lies inside, so that it has a byte of its own
    for (int c = 0; c < columns; c += LANES) {
      least = min(least, load(from + c));
      most = max(most, load(from + c));
    }
    const float low = -max_of_lanes(-least), high = max_of_lanes(most);
    scale[row] = larger((high - low) / D::MOST, 1e-12f);
    const float per_step = 1 / scale[row];
    zero[row] = round_to_whole(broadcast(-low * per_step))[0];
    for (int c = 0; c < columns; c += LANES) {
      const Vec steps = load(from + c) * per_step + zero[row];
      const Vec within = min(max(steps, Vec{}), broadcast(float(D::MOST)));
      store_low_bytes(data + row * stride + c, bits_of<IntVec>(within + ROUNDER));  // a whole float's bits end in it
    }
  }
};

// What sums of a vector of columns stand for: their bias and, of whole sums, scale and zero point.
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

}  // namespace twins::TWINS_ISA
