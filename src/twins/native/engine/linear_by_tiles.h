// Rows times a packed weight matrix by tile registers. While they multiply a block of 32 rows and two panels, vector
// registers finish the block before: neither waits for the other.
#pragma once

#include "amx.h"
#include "prefetch.h"
#include "rows.h"

namespace twins::TWINS_ISA {

// Calls `finish` for every vector of the product whose panel lies in [first_panel, end_panel). Rows are read up to the next
// multiple of 16, and what comes of those past the end is left.
template <class D>
void multiply_panels(const Rows<D>& rows, int count, const Linear& linear, int first_panel, int end_panel,
                     Finisher<D> finish) {
  struct Block {
    int row, rows, panel, panels;
  };
  alignas(LINE) typename D::Sum sums[2][ROW_BLOCK][2];  // of the block at hand and the one before
  const int steps = (linear.inputs + D::GROUP - 1) / D::GROUP, blocks = (count + ROW_BLOCK - 1) / ROW_BLOCK;
  const ptrdiff_t row_bytes = rows.stride * sizeof(typename D::Activation), panel_bytes = ptrdiff_t(steps) * LINE;
  const char* weight = static_cast<const char*>(linear.weight);
  const TileDepth depth(steps);
  Block before = {};
  int turn = 0;

  const auto finish_part = [&](int part, int parts) {
    const int first = before.rows * part / parts, end = before.rows * (part + 1) / parts;
    if (first < end)
      finish(linear, rows, {sums[turn ^ 1][first], 2, before.row + first, before.row + end, before.panel * PANEL, before.panels});
  };
  for (int panel = first_panel; panel < end_panel; panel += 2)
    for (int i = 0; i < blocks; i++, turn ^= 1) {
      const Block block = {i * ROW_BLOCK, smaller(count - i * ROW_BLOCK, ROW_BLOCK), panel, smaller(end_panel - panel, 2)};
      const char* panels = weight + panel * panel_bytes;
      prefetch_part(panels + 2 * panel_bytes, 2 * panel_bytes, i, blocks);
      multiply_block<D>({rows.data + block.row * rows.stride, row_bytes, panels, panel_bytes}, block.rows, block.panels,
                        depth, sums[turn], 2 * LINE, [&](int tile) { finish_part(tile, depth.tiles); });
      before = block;
    }
  finish_part(0, 1);
}

}  // namespace twins::TWINS_ISA
