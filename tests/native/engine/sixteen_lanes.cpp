// The 16-lane code of AVX-512 on any CPU: the compiler splits the vectors, and the dot products are written out.
// It stands in for isa_portable.cpp.
#define TWINS_ISA sixteen_lanes
#define TWINS_LANES 16
#define TWINS_INT8_DOT(sum, bytes, weights) emulated_int8_dot(sum, bytes, weights)
#define TWINS_BF16_DOT(sum, pairs, weights) emulated_bf16_dot(sum, pairs, weights)
#define TWINS_TO_BF16(to, value) \
  for (int i = 0; i < LANES; i++) (to)[i] = to_bf16((value)[i])
#include "vector.h"

namespace twins::TWINS_ISA {

// vpdpbusd: four products of an unsigned and a signed byte are added to each sum.
inline IntVec emulated_int8_dot(IntVec sum, IntVec bytes, IntVec weights) {
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < 4; i++)
      sum[lane] += int32_t(uint8_t(bytes[lane] >> 8 * i)) * int32_t(int8_t(weights[lane] >> 8 * i));
  return sum;
}

// vdpbf16ps: two products of bfloat16 are added to each sum, the odd ones first.
inline Vec emulated_bf16_dot(Vec sum, IntVec pairs, IntVec weights) {
  constexpr int32_t UPPER = static_cast<int32_t>(0xffff0000);
  sum += bits_of<Vec>(pairs & UPPER) * bits_of<Vec>(weights & UPPER);
  return sum + bits_of<Vec>(pairs << 16) * bits_of<Vec>(weights << 16);
}

}  // namespace twins::TWINS_ISA

#include "instruction_sets.h"
#include "network.h"

namespace twins {
using namespace sixteen_lanes;
const Kernels portable_kernels[3] = {kernels<Fp32>(), kernels<Bf16>(), kernels<Int8>()};
}
