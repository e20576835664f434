// Intel since Haswell (2013), AMD since Excavator and Zen. Compiled with -mavx2 -mfma.
#define TWINS_ISA avx2
#define TWINS_LANES 8
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels avx2_kernels[3] = {avx2::kernels<avx2::Fp32>(), avx2::kernels<avx2::Bf16>(), avx2::kernels<avx2::Int8>()};
}
