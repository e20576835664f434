// The code of isa_amx.cpp on any CPU, its tile registers in memory: slow, and there so that it can be tested anywhere.
#define TWINS_ISA amx_emulated
#define TWINS_LANES 16
#define TWINS_TILES
#define TWINS_AMX_EMULATED
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels amx_emulated_kernels[3] = {{}, amx_emulated::kernels<amx_emulated::Bf16>(),
                                         amx_emulated::kernels<amx_emulated::Int8>()};
}
