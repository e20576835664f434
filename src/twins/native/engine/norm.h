// LayerNorm of one token.
#pragma once

#include "packed.h"
#include "vector.h"

namespace twins::TWINS_ISA {

// Calls `put(channel, values)` with LANES normed channels at a time. `channels` is a multiple of PANEL.
template <class Put> TWINS_INLINE void layer_norm(const float* token, int channels, const Norm& norm, Put put) {
  Vec sums[2] = {}, squares[2] = {};
  for (int c = 0; c < channels; c += PANEL)
    for (int j = 0; j < PANEL; j += LANES) sums[j / LANES % 2] += load(token + c + j);
  const Vec mean = broadcast(sum_of_lanes(sums[0] + sums[1]) / channels);
  for (int c = 0; c < channels; c += PANEL)
    for (int j = 0; j < PANEL; j += LANES) {
      const Vec apart = load(token + c + j) - mean;
      squares[j / LANES % 2] += apart * apart;
    }
  const float variance = sum_of_lanes(squares[0] + squares[1]) / channels;
  const Vec inverse = broadcast(1 / __builtin_sqrtf(variance + norm.eps));
  for (int c = 0; c < channels; c += LANES)
    put(c, (load(token + c) - mean) * inverse * load(norm.weight + c) + load(norm.bias + c));
}

}  // namespace twins::TWINS_ISA
