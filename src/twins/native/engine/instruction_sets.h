// Which instruction sets there are, which of them this CPU has, and which is the fastest for a dtype.
#pragma once

#include <string>
#include <vector>

#include "workspace.h"

namespace twins {

// By Dtype; an instruction set that adds nothing for a dtype has no functions there.
extern const Kernels portable_kernels[3], avx2_kernels[3], avx512_kernels[3], avx512_vnni_kernels[3],
    avx512_bf16_kernels[3], amx_kernels[3], amx_emulated_kernels[3];

// Names of those that run here.
std::vector<std::string> instruction_sets();

// The one that computes in this dtype when `wanted` is asked for: itself, or the one that it extends where it adds nothing.
// Without a name the fastest. Throws std::runtime_error for a name that does not run here.
std::string instruction_set_for(Dtype dtype, const std::string& wanted);

// Its functions, for a name that `instruction_set_for` returned.
const Kernels& kernels_of(Dtype dtype, const std::string& name);

}  // namespace twins
