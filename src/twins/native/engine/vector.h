// Vectors of floats, as wide as the instruction set of this translation unit, by the compiler's own vector types.
//
// The same source serves every processor: LANES floats to a vector, and the compiler picks the instructions that its
// flags allow. Only what has no operator in C++ (dot products of small types, see `dtypes.h`) needs intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef TWINS_ISA
#error "TWINS_ISA and TWINS_LANES are defined by the file of an instruction set, such as isa_avx2.cpp"
#endif

#define TWINS_INLINE inline __attribute__((always_inline))

namespace twins::TWINS_ISA {

constexpr int LANES = TWINS_LANES;

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));

template <class To, class From> TWINS_INLINE To bits_of(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

TWINS_INLINE Vec load(const float* from) {
  Vec value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

TWINS_INLINE void store(float* to, Vec value) { __builtin_memcpy(to, &value, sizeof value); }

TWINS_INLINE Vec broadcast(float value) { return value - Vec{}; }
TWINS_INLINE IntVec broadcast(int32_t value) { return value - IntVec{}; }

TWINS_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
TWINS_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }

template <class T> TWINS_INLINE T smaller(T a, T b) { return b < a ? b : a; }
template <class T> TWINS_INLINE T larger(T a, T b) { return a < b ? b : a; }

TWINS_INLINE float sum_of_lanes(Vec value) {
  float lane[LANES];
  store(lane, value);
#pragma GCC unroll 8
  for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}

TWINS_INLINE float max_of_lanes(Vec value) {
  float lane[LANES];
  store(lane, value);
  float most = lane[0];
#pragma GCC unroll 16
  for (int i = 1; i < LANES; i++) most = larger(most, lane[i]);
  return most;
}

// Added and taken away again, this rounds a float of moderate size to the nearest whole number, ties to even.
constexpr float ROUNDER = 12582912.0f;  // 1.5 * 2^23

TWINS_INLINE Vec round_to_whole(Vec x) { return (x + ROUNDER) - ROUNDER; }

// 2^x for x <= 0; below -126 it stays at the smallest normal number. Relative error 1e-7.
//
// The whole part of x goes straight into the exponent's bits, the rest into a polynomial fitted on [-1/2, 1/2].
TWINS_INLINE Vec exp2_of_negative(Vec x) {
  x = max(x, broadcast(-126.0f));
  const Vec shifted = x + ROUNDER;
  const Vec rest = x - (shifted - ROUNDER);
  Vec y = broadcast(1.327646918e-3f);
  y = y * rest + 9.675541312e-3f;
  y = y * rest + 5.550713282e-2f;
  y = y * rest + 2.402211972e-1f;
  y = y * rest + 6.931469671e-1f;
  y = y * rest + 1.0f;
  return bits_of<Vec>(bits_of<IntVec>(y) + (bits_of<IntVec>(shifted) << 23));
}

// x * Phi(x), the exact GELU, with an error below 5e-7 * max(1, |x|).
//
// Phi(x) - 1/2 is odd: x times a polynomial in x^2, fitted on [-5, 5], beyond which Phi is 0 or 1 to this accuracy. It is
// written in t = 2 (x / 5)^2 - 1, which lies in [-1, 1] and keeps the coefficients small. A rational approximation would
// need fewer terms but a division, which takes longer.
TWINS_INLINE Vec gelu(Vec x) {
  const Vec clipped = min(max(x, broadcast(-5.0f)), broadcast(5.0f));
  const Vec t = clipped * clipped * (2.0f / 25.0f) - 1.0f;
  Vec y = broadcast(4.929684801e-4f);
  y = y * t - 1.514153089e-3f;
  y = y * t + 2.001862740e-3f;
  y = y * t - 2.915674588e-3f;
  y = y * t + 6.165428553e-3f;
  y = y * t - 1.097323094e-2f;
  y = y * t + 1.649765670e-2f;
  y = y * t - 2.333673090e-2f;
  y = y * t + 3.142622858e-2f;
  y = y * t - 4.043294862e-2f;
  y = y * t + 5.152142048e-2f;
  y = y * t - 7.029665262e-2f;
  y = y * t + 1.413637847e-1f;
  return x * (clipped * y + 0.5f);
}

}  // namespace twins::TWINS_ISA
