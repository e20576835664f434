// Rounds a vector of floats to bfloat16: AVX512-BF16 has an instruction for it.
#pragma once

#include <immintrin.h>

#define TWINS_TO_BF16(to, value)                                        \
  do {                                                                  \
    const __m256bh halves = _mm512_cvtneps_pbh(bits_of<__m512>(value)); \
    __builtin_memcpy(to, &halves, sizeof halves);                       \
  } while (0)
