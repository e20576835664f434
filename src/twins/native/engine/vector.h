// Vectors of floats, as wide as the instruction set of this translation unit, by the compiler's own vector types.
//
// The same source serves every CPU: LANES floats to a vector, and the compiler picks the instructions that its
// flags allow. Only what has no operator in C++ (dot products of small types, see `dtypes.h`) needs intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

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

// 0, 1, 2 ...
TWINS_INLINE IntVec lane_numbers() {
  return []<size_t... lane>(std::index_sequence<lane...>) { return IntVec{int32_t(lane)...}; }(std::make_index_sequence<LANES>());
}

// GCC makes a comparison and a blend of `a > b ? a : b`, where these CPUs have one instruction.
#if defined(__AVX512F__) && TWINS_LANES == 16
TWINS_INLINE Vec max(Vec a, Vec b) { return bits_of<Vec>(_mm512_max_ps(bits_of<__m512>(a), bits_of<__m512>(b))); }
TWINS_INLINE Vec min(Vec a, Vec b) { return bits_of<Vec>(_mm512_min_ps(bits_of<__m512>(a), bits_of<__m512>(b))); }
#elif defined(__AVX2__) && TWINS_LANES == 8
TWINS_INLINE Vec max(Vec a, Vec b) { return bits_of<Vec>(_mm256_max_ps(bits_of<__m256>(a), bits_of<__m256>(b))); }
TWINS_INLINE Vec min(Vec a, Vec b) { return bits_of<Vec>(_mm256_min_ps(bits_of<__m256>(a), bits_of<__m256>(b))); }
#else
TWINS_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
TWINS_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }
#endif

template <class T> TWINS_INLINE T smaller(T a, T b) { return b < a ? b : a; }
template <class T> TWINS_INLINE T larger(T a, T b) { return a < b ? b : a; }

// Lane i of the result is lane i + by of the value, round and round.
template <int by> TWINS_INLINE Vec rotated(Vec value) {
  return [&]<size_t... lane>(std::index_sequence<lane...>) __attribute__((always_inline)) {
    return __builtin_shufflevector(value, value, (int(lane) + by) % LANES...);
  }(std::make_index_sequence<LANES>());
}

// Every lane meets every other in log2(LANES) steps that stay in registers.
template <class Join, int by = LANES / 2> TWINS_INLINE float over_lanes(Vec value, Join join) {
  value = join(value, rotated<by>(value));
  if constexpr (by > 1)
    return over_lanes<Join, by / 2>(value, join);
  else
    return value[0];
}

TWINS_INLINE float sum_of_lanes(Vec value) {
  return over_lanes(value, [](Vec a, Vec b) { return a + b; });
}

TWINS_INLINE float max_of_lanes(Vec value) {
  return over_lanes(value, [](Vec a, Vec b) { return max(a, b); });
}

// Added and taken away again, this rounds a float of moderate size to the nearest integer, ties to even.
constexpr float ROUNDER = 12582912.0f;  // 1.5 * 2^23

TWINS_INLINE Vec round_to_integer(Vec x) { return (x + ROUNDER) - ROUNDER; }

// 2^x for x <= 0; below -126 it stays at the smallest normal number.
//
// The whole part of x goes straight into the exponent's bits, the rest into a polynomial fitted on [-1/2, 1/2].
template <class Polynomial> TWINS_INLINE Vec exp2_of_negative(Vec x, Polynomial polynomial) {
  x = max(x, broadcast(-126.0f));
  const Vec shifted = x + ROUNDER;
  const Vec y = polynomial(x - (shifted - ROUNDER));
  return bits_of<Vec>(bits_of<IntVec>(y) + (bits_of<IntVec>(shifted) << 23));
}

// Relative error 1e-7.
TWINS_INLINE Vec exp2_of_negative(Vec x) {
  return exp2_of_negative(x, [](Vec rest) {
    Vec y = broadcast(1.327646918e-3f);
    y = y * rest + 9.675541312e-3f;
    y = y * rest + 5.550713282e-2f;
    y = y * rest + 2.402211972e-1f;
    y = y * rest + 6.931469671e-1f;
    return y * rest + 1.0f;
  });
}

// Relative error 8e-5: for weights that become bfloat16, whose steps are 50 times as coarse.
TWINS_INLINE Vec short_exp2_of_negative(Vec x) {
  return exp2_of_negative(x, [](Vec rest) {
    Vec y = broadcast(5.517173122e-2f);
    y = y * rest + 2.426112773e-1f;
    y = y * rest + 6.932609896e-1f;
    return y * rest + 9.999280643e-1f;
  });
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

// The same with an error below 5e-5 * max(1, |x|), fitted on [-3.75, 3.75]: for values that are rounded to 8 bits next.
TWINS_INLINE Vec short_gelu(Vec x) {
  const Vec clipped = min(max(x, broadcast(-3.75f)), broadcast(3.75f));
  const Vec t = clipped * clipped * (2.0f / (3.75f * 3.75f)) - 1.0f;
  Vec y = broadcast(4.501609077e-3f);
  y = y * t - 1.226589746e-2f;
  y = y * t + 1.930975579e-2f;
  y = y * t - 3.264223786e-2f;
  y = y * t + 5.507714831e-2f;
  y = y * t - 8.771844531e-2f;
  y = y * t + 1.870606061e-1f;
  return x * (clipped * y + 0.5f);
}

}  // namespace twins::TWINS_ISA
