// How much goes through the network together. The faster products are, the more the weights' way from memory limits them,
// and the more rows meet a weight, the less of it there is. Sizes are the best of those that were measured.
#pragma once

#include "dtypes.h"
#include "workspace.h"

namespace twins::TWINS_ISA {

// Tokens that go through a block's layers together, windows of 7 x 7: two by AVX2, four by AVX-512, sixteen by tiles.
constexpr int MOST_ROWS = LEAST_ROWS * (TILED ? 8 : LANES == 16 ? 2 : 1);
constexpr int PASS_BYTES = 4 << 20;  // of all that a pass holds at a time, 16 bytes a channel of a token
constexpr size_t GROUP_BYTES = size_t(TILED ? 16 : LANES == 16 ? 8 : 2) << 20;

// Passes of at most `most` rows: as many for every worker, and none empty.
TWINS_INLINE int passes_of(int rows, int most, const Workers& workers) {
  const int rounds = (rows + most * workers.size - 1) / (most * workers.size);
  return smaller(rounds * workers.size, rows);
}

// The same for a block's layers, where wide tokens fill the caches sooner.
TWINS_INLINE int passes_of_block(int rows, int channels, const Workers& workers) {
  return passes_of(rows, smaller(larger(PASS_BYTES / (16 * channels), LEAST_ROWS), MOST_ROWS), workers);
}

}  // namespace twins::TWINS_ISA
