// Rows times a packed weight matrix by vector registers: a panel of weights meets all rows, a register tile at a time.
#pragma once

#include "passes.h"
#include "prefetch.h"
#include "register_tile.h"
#include "rows.h"

namespace twins::TWINS_ISA {

// A panel is met in chunks so long that a chunk stays in the nearest cache while all rows pass by.
constexpr int CHUNK_BYTES = 16 * 1024;

// Calls `finish` for every vector of the product whose panel lies in [first_panel, end_panel).
template <class D>
void multiply_panels(const Rows<D>& rows, int count, const Linear& linear, int first_panel, int end_panel,
                     Finisher<D> finish) {
  typedef typename D::Tile Tile;
  constexpr bool WIDENED = sizeof(typename Tile::Weight) > sizeof(typename D::Weight);
  constexpr int STEP = PANEL * D::GROUP;  // weights of a panel that a step meets
  constexpr int CHUNK = CHUNK_BYTES / (STEP * int(sizeof(typename Tile::Weight)));
  constexpr int SUM_STRIDE = TILE_COLUMNS / LANES;
  typename D::Sum sums[MOST_ROWS * SUM_STRIDE];
  typename Tile::Weight widened[WIDENED ? TILE_PANELS * CHUNK * STEP : 1];
  const int steps = (linear.inputs + D::GROUP - 1) / D::GROUP;
  const int tiles = (count + TILE_ROWS - 1) / TILE_ROWS, chunks = (steps + CHUNK - 1) / CHUNK;
  const typename D::Weight* weight = static_cast<const typename D::Weight*>(linear.weight);
  const ptrdiff_t panel_stride = ptrdiff_t(steps) * STEP;

  for (int panel = first_panel; panel < end_panel; panel += TILE_PANELS) {
    const int panels = smaller(TILE_PANELS, end_panel - panel);
    for (int chunk = 0; chunk < chunks; chunk++) {
      const int from = int(int64_t(steps) * chunk / chunks), to = int(int64_t(steps) * (chunk + 1) / chunks);
      const typename D::Weight* piece = weight + panel * panel_stride + from * ptrdiff_t(STEP);
      TileOperands<Tile> operands = {nullptr, rows.stride, nullptr, panel_stride, STEP, to - from};
      if constexpr (WIDENED) {
        for (int p = 0; p < panels; p++) D::widen(piece + p * panel_stride, to - from, widened + p * CHUNK * STEP);
        operands = {nullptr, rows.stride, widened, CHUNK * STEP, PANEL, (to - from) * D::GROUP};
      } else {
        operands.panels = piece;
      }
      const ptrdiff_t length = (to - from) * ptrdiff_t(STEP);
      const typename D::Weight* next = chunk < chunks - 1 ? piece + length : weight + (panel + panels) * panel_stride;
      for (int tile = 0; tile < tiles; tile++) {
        for (int p = 0; p < panels; p++) prefetch_part(next + p * panel_stride, length * sizeof *next, tile, tiles);
        const int first = count * tile / tiles, end = count * (tile + 1) / tiles;  // tiles of nearly equal height
        operands.rows = rows.data + first * rows.stride + from * D::GROUP;
        multiply_tile<Tile>(operands, end - first, panels, sums + first * SUM_STRIDE, chunk > 0);
        if (chunk == chunks - 1)
          finish(linear, rows, {sums + first * SUM_STRIDE, SUM_STRIDE, first, end, panel * PANEL, panels * PANEL_VECTORS});
      }
    }
  }
}

}  // namespace twins::TWINS_ISA
