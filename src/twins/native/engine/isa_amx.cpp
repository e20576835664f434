// Intel since Sapphire Rapids (2023): products of tiles. Compiled as isa_avx512_bf16.cpp, and -mamx-tile -mamx-bf16
// -mamx-int8.
#define TWINS_ISA amx
#define TWINS_LANES 16
#define TWINS_TILES
#include "bf16_avx512.h"
#include "instruction_sets.h"
#include "network.h"

namespace twins {
const Kernels amx_kernels[3] = {{}, amx::kernels<amx::Bf16>(), amx::kernels<amx::Int8>()};
}
