// What a product multiplies: for each dtype the types of activations and weights, and the sums they add up to.
//
// A new instruction set that has a dot product adds its intrinsic here, in the branch of its macro.
#pragma once

#include "packed.h"
#include "vector.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace twins::TWINS_ISA {

constexpr int PANEL_VECTORS = PANEL / LANES;

// Single precision: a step is one row of a panel.
struct Fp32 {
  typedef float Activation;
  typedef float Weight;
  typedef Vec Sum;
  static constexpr int GROUP = 1;  // rows of the weight matrix a step
  static constexpr bool QUANTISED = false;

  struct Weights {
    Vec value;
  };
  static TWINS_INLINE Weights read(const Weight* panel, int vector) { return {load(panel + vector * LANES)}; }
  struct Factor {
    Vec value;
  };
  static TWINS_INLINE Factor spread(const Activation* row) { return {broadcast(*row)}; }
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) { return sum + row.value * column.value; }
};

#if defined(TWINS_BF16_DOT)

// bfloat16 on both sides, two rows a step, summed in single precision.
struct Bf16 {
  typedef uint16_t Activation;
  typedef uint16_t Weight;
  typedef Vec Sum;
  static constexpr int GROUP = 2;
  static constexpr bool QUANTISED = false;

  struct Weights {
    IntVec pairs;
  };
  static TWINS_INLINE Weights read(const Weight* panel, int vector) {
    Weights w;
    __builtin_memcpy(&w.pairs, panel + vector * LANES * 2, sizeof w.pairs);
    return w;
  }
  struct Factor {
    IntVec pairs;
  };
  static TWINS_INLINE Factor spread(const Activation* row) {
    int32_t pair;
    __builtin_memcpy(&pair, row, sizeof pair);
    return {broadcast(pair)};
  }
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    return TWINS_BF16_DOT(sum, row.pairs, column.pairs);
  }
};

#else

// bfloat16 weights where no instruction multiplies them: they are widened as they are read, which takes a shift and a
// mask for a whole tile, and activations stay in single precision. Half the memory, and no rounding but the weights'.
struct Bf16 {
  typedef float Activation;
  typedef uint16_t Weight;
  typedef Vec Sum;
  static constexpr int GROUP = 2;
  static constexpr bool QUANTISED = false;

  struct Weights {
    Vec first, second;
  };
  static TWINS_INLINE Weights read(const Weight* panel, int vector) {
    IntVec pairs;  // the first of a pair in the lower half, on every processor that the engine runs on
    __builtin_memcpy(&pairs, panel + vector * LANES * 2, sizeof pairs);
    return {bits_of<Vec>(pairs << 16), bits_of<Vec>(pairs & static_cast<int32_t>(0xffff0000))};
  }
  struct Factor {
    Vec first, second;
  };
  static TWINS_INLINE Factor spread(const Activation* row) { return {broadcast(row[0]), broadcast(row[1])}; }
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    return sum + row.first * column.first + row.second * column.second;
  }
};

#endif

// Rows of unsigned bytes with a scale and a zero point each, signed bytes of weights, four rows a step, whole sums.
struct Int8 {
  typedef uint8_t Activation;
  typedef int8_t Weight;
  typedef IntVec Sum;
  static constexpr int GROUP = 4;
  static constexpr bool QUANTISED = true;

  struct Weights {
    IntVec fours;
  };
  static TWINS_INLINE Weights read(const Weight* panel, int vector) {
    Weights w;
    __builtin_memcpy(&w.fours, panel + vector * LANES * 4, sizeof w.fours);
    return w;
  }
  struct Factor {
    IntVec fours;
  };
  static TWINS_INLINE Factor spread(const Activation* row) {
    int32_t four;
    __builtin_memcpy(&four, row, sizeof four);
    return {broadcast(four)};
  }

#if defined(TWINS_INT8_DOT)
  static constexpr float MOST = 255;
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    return TWINS_INT8_DOT(sum, row.fours, column.fours);
  }
#elif defined(__AVX512BW__) && TWINS_LANES == 16
  static constexpr float MOST = 127;  // see below
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    const __m512i pairs = _mm512_maddubs_epi16(bits_of<__m512i>(row.fours), bits_of<__m512i>(column.fours));
    return sum + bits_of<IntVec>(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
#elif defined(__AVX2__) && TWINS_LANES == 8
  // Two products of a byte each are summed in 16 bits, which 2 * 127 * 127 fits into and 2 * 255 * 127 does not: so rows
  // use 7 bits here.
  static constexpr float MOST = 127;
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    const __m256i pairs = _mm256_maddubs_epi16(bits_of<__m256i>(row.fours), bits_of<__m256i>(column.fours));
    return sum + bits_of<IntVec>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
#else
  static constexpr float MOST = 255;
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    typedef uint32_t UnsignedVec __attribute__((vector_size(4 * LANES)));
    const UnsignedVec bytes = bits_of<UnsignedVec>(row.fours);
    sum += bits_of<IntVec>(bytes & 255u) * (column.fours << 24 >> 24);
    sum += bits_of<IntVec>(bytes >> 8 & 255u) * (column.fours << 16 >> 24);
    sum += bits_of<IntVec>(bytes >> 16 & 255u) * (column.fours << 8 >> 24);
    sum += bits_of<IntVec>(bytes >> 24) * (column.fours >> 24);
    return sum;
  }
#endif
};

}  // namespace twins::TWINS_ISA
