// Rows times a packed weight matrix, and whatever becomes of each sum while it is still in the nearest cache.
#pragma once

#if defined(TWINS_TILES)
#include "linear_by_tiles.h"
#else
#include "linear_in_registers.h"
#endif

namespace twins::TWINS_ISA {

TWINS_INLINE int panels_of(const Linear& linear) { return (linear.outputs + PANEL - 1) / PANEL; }

// Calls `finish(row, column, values)` with LANES values, bias included, for every vector of the product whose panel lies
// in [first_panel, end_panel).
template <class D, class Finish>
TWINS_INLINE void multiply(const Rows<D>& rows, int count, const Linear& linear, int first_panel, int end_panel, Finish finish) {
  multiply_panels<D>(rows, count, linear, first_panel, end_panel, {finish_sums<D, Finish>, &finish});
}

template <class D, class Finish>
TWINS_INLINE void multiply(const Rows<D>& rows, int count, const Linear& linear, Finish finish) {
  multiply(rows, count, linear, 0, panels_of(linear), finish);
}

}  // namespace twins::TWINS_ISA
