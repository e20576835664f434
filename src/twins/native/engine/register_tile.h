// The innermost loop: a tile of sums that stays in registers while a few rows meet one or two panels of weights.
#pragma once

#include "dtypes.h"

namespace twins::TWINS_ISA {

// The largest tile whose sums, weights and one row's factor fit into the registers.
#if TWINS_LANES == 16
constexpr int TILE_ROWS = 14, TILE_PANELS = 2;  // 32 registers: 28 sums
#elif TWINS_LANES == 8
constexpr int TILE_ROWS = 6, TILE_PANELS = 1;  // 16 registers: 12 sums
#elif defined(__aarch64__)
constexpr int TILE_ROWS = 6, TILE_PANELS = 1;  // 32 registers: 24 sums
#else
constexpr int TILE_ROWS = 3, TILE_PANELS = 1;  // 16 registers: 12 sums
#endif

constexpr int TILE_COLUMNS = TILE_PANELS * PANEL;

// Left and right operand of a tile. Strides are in elements.
template <class D> struct TileOperands {
  const typename D::Activation* rows;
  ptrdiff_t row_stride;
  const typename D::Weight* panels;
  ptrdiff_t panel_stride;  // from one panel to the next
  ptrdiff_t step_stride;   // from one step to the next inside a panel
  int steps;
};

// sums[ROWS][PANELS * PANEL] (+)= rows * panels; `sums` has rows of TILE_COLUMNS.
template <class D, int ROWS, int PANELS>
__attribute__((noinline)) void multiply_tile(const TileOperands<D>& operands, typename D::Sum* sums, bool adds) {
  constexpr int VECTORS = PANELS * PANEL_VECTORS, SUM_STRIDE = TILE_COLUMNS / LANES;
  typename D::Sum sum[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) sum[i][j] = adds ? sums[i * SUM_STRIDE + j] : typename D::Sum{};

  const typename D::Activation* row = operands.rows;
  const typename D::Weight* panel = operands.panels;
  const ptrdiff_t row_stride = operands.row_stride, panel_stride = operands.panel_stride;
#pragma GCC unroll 4
  for (int step = 0; step < operands.steps; step++) {
    typename D::Weights weights[VECTORS];
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++)
      weights[j] = D::read(panel + j / PANEL_VECTORS * panel_stride, j % PANEL_VECTORS);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      const typename D::Factor factor = D::spread(row + i * row_stride);
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) sum[i][j] = D::add(sum[i][j], factor, weights[j]);
    }
    row += D::GROUP;
    panel += operands.step_stride;
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) sums[i * SUM_STRIDE + j] = sum[i][j];
}

// The same for a number of rows and panels that is known when it runs.
template <class D, int ROWS = TILE_ROWS>
TWINS_INLINE void multiply_tile(const TileOperands<D>& operands, int rows, int panels, typename D::Sum* sums, bool adds) {
  if constexpr (ROWS > 0) {
    if (rows != ROWS) return multiply_tile<D, ROWS - 1>(operands, rows, panels, sums, adds);
    if (panels == TILE_PANELS) return multiply_tile<D, ROWS, TILE_PANELS>(operands, sums, adds);
    if constexpr (TILE_PANELS > 1) multiply_tile<D, ROWS, 1>(operands, sums, adds);
  }
}

}  // namespace twins::TWINS_ISA
