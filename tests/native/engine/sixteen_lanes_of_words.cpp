// isa_avx512.cpp on a CPU that has AVX2 alone: its two intrinsics are taken by halves, all else the compiler splits.
// It stands in for isa_portable.cpp; compiled with -mavx2 -mfma.
#include <immintrin.h>

template <class Half> inline __m512i by_halves(__m512i a, __m512i b, Half half) {
  __m256i parts_of_a[2], parts_of_b[2], output[2];
  __builtin_memcpy(parts_of_a, &a, sizeof a);
  __builtin_memcpy(parts_of_b, &b, sizeof b);
  for (int i = 0; i < 2; i++) output[i] = half(parts_of_a[i], parts_of_b[i]);
  __m512i whole;
  __builtin_memcpy(&whole, output, sizeof whole);
  return whole;
}

#define __AVX512BW__ 1
#define _mm512_maddubs_epi16(a, b) by_halves(a, b, [](__m256i x, __m256i y) { return _mm256_maddubs_epi16(x, y); })
#define _mm512_madd_epi16(a, b) by_halves(a, b, [](__m256i x, __m256i y) { return _mm256_madd_epi16(x, y); })
#define _mm512_set1_epi16(value) bits_of<__m512i>(broadcast(0x10001 * (value)))

#define TWINS_ISA sixteen_lanes
#define TWINS_LANES 16
#include "instruction_sets.h"
#include "network.h"

namespace twins {
using namespace sixteen_lanes;
const Kernels portable_kernels[3] = {kernels<Fp32>(), kernels<Bf16>(), kernels<Int8>()};
}
