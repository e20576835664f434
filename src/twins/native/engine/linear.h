// Rows times a packed weight matrix, and whatever becomes of each sum while it is still in the nearest cache.
#pragma once

#include "rows.h"
#include "workspace.h"

namespace twins::TWINS_ISA {

// A panel is met in chunks so long that a chunk stays in the nearest cache while all rows pass by.
constexpr int CHUNK_BYTES = 16 * 1024;

// Calls `finish(row, column, values)` with LANES sums, bias included, for every vector of the answer whose panel lies in
// [first_panel, end_panel).
template <class D, class Finish>
void multiply(const Rows<D>& rows, int count, const Linear& linear, int first_panel, int end_panel, Finish finish) {
  constexpr int STEP = PANEL * D::GROUP, CHUNK = CHUNK_BYTES / (STEP * int(sizeof(typename D::Weight)));
  constexpr int SUM_STRIDE = TILE_COLUMNS / LANES;
  typename D::Sum sums[MOST_ROWS * SUM_STRIDE];
  const int steps = (linear.inputs + D::GROUP - 1) / D::GROUP;
  const int tiles = (count + TILE_ROWS - 1) / TILE_ROWS, chunks = (steps + CHUNK - 1) / CHUNK;
  const typename D::Weight* weight = static_cast<const typename D::Weight*>(linear.weight);
  const ptrdiff_t panel_stride = ptrdiff_t(steps) * STEP;

  for (int panel = first_panel; panel < end_panel; panel += TILE_PANELS) {
    const int panels = smaller(TILE_PANELS, end_panel - panel);
    for (int chunk = 0; chunk < chunks; chunk++) {
      const int from = int(int64_t(steps) * chunk / chunks), to = int(int64_t(steps) * (chunk + 1) / chunks);
      for (int tile = 0; tile < tiles; tile++) {
        const int first = count * tile / tiles, end = count * (tile + 1) / tiles;  // tiles of nearly equal height
        const TileOperands<D> operands = {
            rows.data + first * rows.stride + from * D::GROUP, rows.stride,
            weight + panel * panel_stride + from * ptrdiff_t(STEP), panel_stride, STEP, to - from};
        multiply_tile<D>(operands, end - first, panels, sums + first * SUM_STRIDE, chunk > 0);
        if (chunk < chunks - 1) continue;
        for (int row = first; row < end; row++)
          for (int j = 0; j < panels * PANEL_VECTORS; j++) {
            const int column = panel * PANEL + j * LANES;
            const typename D::Sum sum = sums[row * SUM_STRIDE + j];
            Vec value;
            if constexpr (D::QUANTISED) {
              const Vec whole = __builtin_convertvector(sum, Vec) - load(linear.column_sum + column) * rows.zero[row];
              value = whole * (load(linear.column_scale + column) * rows.scale[row]);
            } else {
              value = sum;
            }
            finish(row, column, linear.bias ? value + load(linear.bias + column) : value);
          }
      }
    }
  }
}

TWINS_INLINE int panels_of(const Linear& linear) { return (linear.outputs + PANEL - 1) / PANEL; }

template <class D, class Finish>
TWINS_INLINE void multiply(const Rows<D>& rows, int count, const Linear& linear, Finish finish) {
  multiply(rows, count, linear, 0, panels_of(linear), finish);
}

}  // namespace twins::TWINS_ISA
