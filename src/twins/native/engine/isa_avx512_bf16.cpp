// Intel since Cooper Lake and Sapphire Rapids, AMD since Zen 4: adds the product of bfloat16 pairs to the product of
// bytes. Compiled as isa_avx512_vnni.cpp, and -mavx512bf16.
#include <immintrin.h>

#define TWINS_ISA avx512_bf16
#define TWINS_LANES 16
#define TWINS_INT8_DOT(sum, bytes, weights) \
  bits_of<IntVec>(_mm512_dpbusd_epi32(bits_of<__m512i>(sum), bits_of<__m512i>(bytes), bits_of<__m512i>(weights)))
#define TWINS_BF16_DOT(sum, pairs, weights) \
  bits_of<Vec>(_mm512_dpbf16_ps(bits_of<__m512>(sum), bits_of<__m512bh>(pairs), bits_of<__m512bh>(weights)))
#define TWINS_TO_BF16(to, value)                                           \
  do {                                                                     \
    const __m256bh halves = _mm512_cvtneps_pbh(bits_of<__m512>(value));    \
    __builtin_memcpy(to, &halves, sizeof halves);                          \
  } while (0)
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels avx512_bf16_kernels = avx512_bf16::kernels();
}
