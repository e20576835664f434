// Intel since Cascade Lake, AMD since Zen 4: the product of bytes. Compiled as isa_avx512.cpp, and -mavx512vnni.
#include <immintrin.h>

#define TWINS_ISA avx512_vnni
#define TWINS_LANES 16
#define TWINS_INT8_DOT(sum, bytes, weights) \
  bits_of<IntVec>(_mm512_dpbusd_epi32(bits_of<__m512i>(sum), bits_of<__m512i>(bytes), bits_of<__m512i>(weights)))
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels avx512_vnni_kernels[3] = {{}, {}, avx512_vnni::kernels<avx512_vnni::Int8>()};
}
