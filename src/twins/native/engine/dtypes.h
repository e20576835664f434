// What a product multiplies: for each dtype the types of activations and weights, and the sums they add up to.
//
// A new instruction set that has a dot product adds its intrinsic here, in the branch of its macro. One that multiplies
// whole tiles (TWINS_TILES) takes no dot products: see `amx.h`.
#pragma once

#include "packed.h"
#include "vector.h"

namespace twins::TWINS_ISA {

constexpr int PANEL_VECTORS = PANEL / LANES;

#if defined(TWINS_TILES)
constexpr bool TILED = true;  // products of bfloat16 and bytes by tile registers
#else
constexpr bool TILED = false;
#endif

TWINS_INLINE float from_bf16(uint16_t value) { return bits_of<float>(uint32_t(value) << 16); }

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

// Single precision: a step is one row of a panel.
struct Fp32 {
  typedef float Activation;
  typedef float Weight;
  typedef Vec Sum;
  static constexpr int GROUP = 1;  // rows of the weight matrix a step
  static constexpr bool QUANTISED = false;
  typedef Fp32 Tile;  // what the innermost loop multiplies

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

// Rows and weights as whole words, in each of which a dot-product instruction finds two or four small numbers.
template <class ActivationType, class WeightType> struct WordOperands {
  typedef ActivationType Activation;
  typedef WeightType Weight;
  static constexpr int GROUP = 4 / sizeof(Weight);

  struct Weights {
    IntVec words;
  };
  static TWINS_INLINE Weights read(const Weight* panel, int vector) {
    Weights weights;
    __builtin_memcpy(&weights.words, panel + vector * LANES * GROUP, sizeof weights.words);
    return weights;
  }
  struct Factor {
    IntVec words;
  };
  static TWINS_INLINE Factor spread(const Activation* row) {
    int32_t word;
    __builtin_memcpy(&word, row, sizeof word);
    return {broadcast(word)};
  }
};

#if defined(TWINS_BF16_DOT) || defined(TWINS_TILES)

// bfloat16 on both sides, two rows a step, summed in single precision.
struct Bf16 : WordOperands<uint16_t, uint16_t> {
  typedef Vec Sum;
  static constexpr bool QUANTISED = false;
  typedef Bf16 Tile;

#if defined(TWINS_BF16_DOT)
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    return TWINS_BF16_DOT(sum, row.words, column.words);
  }
#endif
};

#else

// bfloat16 weights where no instruction multiplies them: a piece of a panel is widened into the nearest cache, where all
// rows meet it in single precision. Half the memory, and no rounding but the weights'.
struct Bf16 {
  typedef float Activation;
  typedef uint16_t Weight;
  typedef Vec Sum;
  static constexpr int GROUP = 2;
  static constexpr bool QUANTISED = false;
  typedef Fp32 Tile;

  // Pairs of rows, interleaved, become rows of floats.
  static TWINS_INLINE void widen(const Weight* panel, int steps, float* rows) {
    for (int step = 0; step < steps; step++, panel += 2 * PANEL, rows += 2 * PANEL)
      for (int column = 0; column < PANEL; column += LANES) {
        IntVec pairs;  // the first of a pair in the lower half, on every CPU that the engine runs on
        __builtin_memcpy(&pairs, panel + 2 * column, sizeof pairs);
        store(rows + column, bits_of<Vec>(pairs << 16));
        store(rows + PANEL + column, bits_of<Vec>(pairs & static_cast<int32_t>(0xffff0000)));
      }
  }
};

#endif

// Rows of unsigned bytes with a scale and a zero point each, signed bytes of weights, four rows a step, integer sums.
struct Int8 : WordOperands<uint8_t, int8_t> {
  typedef IntVec Sum;
  static constexpr bool QUANTISED = true;
  typedef Int8 Tile;

#if defined(TWINS_TILES)
  static constexpr float MOST = 255;
#elif defined(TWINS_INT8_DOT)
  static constexpr float MOST = 255;
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    return TWINS_INT8_DOT(sum, row.words, column.words);
  }
#elif defined(__AVX512BW__) && TWINS_LANES == 16
  static constexpr float MOST = 127;  // see below
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    const __m512i pairs = _mm512_maddubs_epi16(bits_of<__m512i>(row.words), bits_of<__m512i>(column.words));
    return sum + bits_of<IntVec>(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
#elif defined(__AVX2__) && TWINS_LANES == 8
  // Two products of a byte each are summed in 16 bits, which 2 * 127 * 127 fits into and 2 * 255 * 127 does not: so rows
  // use 7 bits here.
  static constexpr float MOST = 127;
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    const __m256i pairs = _mm256_maddubs_epi16(bits_of<__m256i>(row.words), bits_of<__m256i>(column.words));
    return sum + bits_of<IntVec>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
#else
  static constexpr float MOST = 255;
  static TWINS_INLINE Sum add(Sum sum, Factor row, Weights column) {
    typedef uint32_t UnsignedVec __attribute__((vector_size(4 * LANES)));
    const UnsignedVec bytes = bits_of<UnsignedVec>(row.words);
    sum += bits_of<IntVec>(bytes & 255u) * (column.words << 24 >> 24);
    sum += bits_of<IntVec>(bytes >> 8 & 255u) * (column.words << 16 >> 24);
    sum += bits_of<IntVec>(bytes >> 16 & 255u) * (column.words << 8 >> 24);
    sum += bits_of<IntVec>(bytes >> 24) * (column.words >> 24);
    return sum;
  }
#endif
};

// Queries, keys and values as attention reads them: tiles multiply bfloat16, whatever the linear layers multiply.
#if defined(TWINS_TILES)
typedef uint16_t HeadElement;
#else
typedef float HeadElement;
#endif

// What becomes 8 bits next needs no more of GELU.
TWINS_INLINE Vec activation(Vec x) { return TILED ? short_gelu(x) : gelu(x); }

}  // namespace twins::TWINS_ISA
