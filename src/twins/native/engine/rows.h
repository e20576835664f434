// The left operand of a product: a row a token, written in single precision and sealed into what the product reads.
#pragma once

#include "tile.h"

namespace twins::TWINS_ISA {

TWINS_INLINE uint16_t to_bf16(float value) {
  const uint32_t bits = bits_of<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

TWINS_INLINE void store_as(float* to, Vec value) { store(to, value); }

TWINS_INLINE void store_as(uint16_t* to, Vec value) {
#if defined(TWINS_TO_BF16)
  TWINS_TO_BF16(to, value);
#else
  for (int i = 0; i < LANES; i++) to[i] = to_bf16(value[i]);
#endif
}

template <class D> struct Rows {
  typename D::Activation* data;
  ptrdiff_t stride;
  float* exact;   // int8 only: rows as they are written, before their range is known
  float* scale;   // int8 only, one a row: what a step of the byte stands for
  float* zero;    // int8 only, one a row: the byte of 0

  TWINS_INLINE void put(int row, int column, Vec value) const {
    if constexpr (D::QUANTISED)
      store(exact + row * stride + column, value);
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
    const float* from = exact + row * stride;
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
      const Vec steps = round_to_whole(load(from + c) * per_step + zero[row]);
      const IntVec whole = __builtin_convertvector(min(max(steps, Vec{}), broadcast(float(D::MOST))), IntVec);
      typedef uint8_t Bytes __attribute__((vector_size(LANES)));
      const Bytes bytes = __builtin_convertvector(whole, Bytes);
      __builtin_memcpy(data + row * stride + c, &bytes, sizeof bytes);
    }
  }
};

}  // namespace twins::TWINS_ISA
