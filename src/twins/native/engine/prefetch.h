// Weights on their way into a core's second cache before their turn comes.
#pragma once

#include "vector.h"
#include "workspace.h"

namespace twins::TWINS_ISA {

// Fetches one of `parts` of what lies in [from, from + bytes).
TWINS_INLINE void prefetch_part(const void* from, ptrdiff_t bytes, int part, int parts) {
  const char* line = static_cast<const char*>(from);
  for (ptrdiff_t at = bytes / LINE * part / parts; at < bytes / LINE * (part + 1) / parts; at++)
    __builtin_prefetch(line + at * LINE, 0, 2);
}

}  // namespace twins::TWINS_ISA
