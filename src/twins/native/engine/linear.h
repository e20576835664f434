// Rows times a packed weight matrix, and whatever becomes of each sum while it is still in the nearest cache.
#pragma once

#if defined(TWINS_TILES)
#include "linear_by_tiles.h"
#else
#include "linear_in_registers.h"
#endif

namespace twins::TWINS_ISA {

TWINS_INLINE int panels_of(const Linear& linear) { return (linear.outputs + PANEL - 1) / PANEL; }

template <class D, class Finish>
TWINS_INLINE void multiply(const Rows<D>& rows, int count, const Linear& linear, Finish finish) {
  multiply(rows, count, linear, 0, panels_of(linear), finish);
}

}  // namespace twins::TWINS_ISA
