// Any CPU: vectors of four floats, which is what SSE2 and NEON have, and no intrinsics.
#define TWINS_ISA portable
#define TWINS_LANES 4
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels portable_kernels[3] = {portable::kernels<portable::Fp32>(), portable::kernels<portable::Bf16>(),
                                     portable::kernels<portable::Int8>()};
}
