// Intel since Skylake-SP, AMD since Zen 4. Compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma.
#define TWINS_ISA avx512
#define TWINS_LANES 16
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels avx512_kernels[3] = {avx512::kernels<avx512::Fp32>(), avx512::kernels<avx512::Bf16>(),
                                   avx512::kernels<avx512::Int8>()};
}
