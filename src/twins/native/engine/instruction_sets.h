// Which instruction sets there are, and which of them this processor has.
#pragma once

#include "workspace.h"

namespace twins {

extern const Kernels portable_kernels, avx2_kernels, avx512_kernels, avx512_vnni_kernels, avx512_bf16_kernels;

// Slowest first, with blanks between.
const char* instruction_set_names();

// Throws std::runtime_error for a name that is not among them.
const Kernels& kernels_of(const char* name);

}  // namespace twins
