// Intel since Haswell (2013), AMD since Excavator and Zen. Compiled with -mavx2 -mfma.
#define TWINS_ISA avx2
#define TWINS_LANES 8
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels avx2_kernels = avx2::kernels();
}
