// Intel since Cooper Lake and Sapphire Rapids, AMD since Zen 4: the product of bfloat16 pairs. Compiled as isa_avx512.cpp,
// and -mavx512bf16.
#define TWINS_ISA avx512_bf16
#define TWINS_LANES 16
#define TWINS_BF16_DOT(sum, pairs, weights) \
  bits_of<Vec>(_mm512_dpbf16_ps(bits_of<__m512>(sum), bits_of<__m512bh>(pairs), bits_of<__m512bh>(weights)))
#include "bf16_avx512.h"
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels avx512_bf16_kernels[3] = {{}, avx512_bf16::kernels<avx512_bf16::Bf16>(), {}};
}
