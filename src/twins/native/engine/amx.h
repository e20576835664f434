// Tile registers of AMX: eight, each of 16 rows of 64 bytes. What multiplies them stands in one instruction.
//
// By number: 0 to 3 are sums, two by two; 4 and 5 rows of the left operand; 6 and 7 panels of the right one. Instructions
// are written out, since GCC's intrinsics do not say which memory they read; they keep their order among themselves and
// with all that is written to memory before.
#pragma once

#include <type_traits>

#include "dtypes.h"

namespace twins::TWINS_ISA {

constexpr int TILE_HEIGHT = 16;  // rows of a tile
constexpr int TILE_STEPS = 16;   // words of a row: steps of a product that a tile holds

// As the instruction reads it.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  // Operands of so many steps, and whole tiles of sums.
  explicit TileShapes(int steps) {
    for (int i = 0; i < 4; i++) row_bytes[i] = 64, rows[i] = TILE_HEIGHT;
    for (int i = 4; i < 6; i++) row_bytes[i] = uint16_t(4 * steps), rows[i] = TILE_HEIGHT;
    for (int i = 6; i < 8; i++) row_bytes[i] = 64, rows[i] = uint8_t(steps);
  }
};

#if !defined(TWINS_AMX_EMULATED)

// Sets all tiles to zero.
TWINS_INLINE void configure_tiles(const TileShapes& shapes) {
  __asm__ volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
}
TWINS_INLINE void release_tiles() { __asm__ volatile("tilerelease" : : : "memory"); }

template <int tile> TWINS_INLINE void zero_tile() { __asm__ volatile("tilezero %%tmm%c0" : : "i"(tile)); }

template <int tile> TWINS_INLINE void load_tile(const void* from, ptrdiff_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(tile) : "memory");
}

template <int tile> TWINS_INLINE void store_tile(void* to, ptrdiff_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(tile) : "memory");
}

// sums += rows * panel.
template <class D, int sums, int rows, int panel> TWINS_INLINE void multiply_tiles() {
  if constexpr (D::QUANTISED)
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(rows), "i"(panel));
  else
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(rows), "i"(panel));
}

#else

// The same in plain C++, for CPUs without AMX. Shapes are kept to as strictly as the instructions do.
struct EmulatedTiles {
  TileShapes shapes{0};
  bool configured = false;
  alignas(64) uint8_t bytes[8][TILE_HEIGHT][64];

  void require(bool holds) const {
    if (!holds || !configured) __builtin_trap();
  }
};
inline thread_local EmulatedTiles emulated;

TWINS_INLINE void configure_tiles(const TileShapes& shapes) {
  emulated.shapes = shapes;
  emulated.configured = true;
  __builtin_memset(emulated.bytes, 0, sizeof emulated.bytes);
}
TWINS_INLINE void release_tiles() { emulated.configured = false; }

template <int tile> void zero_tile() {
  emulated.require(true);
  __builtin_memset(emulated.bytes[tile], 0, sizeof emulated.bytes[tile]);
}

template <int tile> void load_tile(const void* from, ptrdiff_t stride) {
  zero_tile<tile>();
  for (int row = 0; row < emulated.shapes.rows[tile]; row++)
    __builtin_memcpy(emulated.bytes[tile][row], static_cast<const char*>(from) + row * stride, emulated.shapes.row_bytes[tile]);
}

template <int tile> void store_tile(void* to, ptrdiff_t stride) {
  emulated.require(true);
  for (int row = 0; row < emulated.shapes.rows[tile]; row++)
    __builtin_memcpy(static_cast<char*>(to) + row * stride, emulated.bytes[tile][row], emulated.shapes.row_bytes[tile]);
}

template <class D, int sums, int rows, int panel> void multiply_tiles() {
  typedef std::conditional_t<D::QUANTISED, int32_t, float> Number;
  const int steps = emulated.shapes.rows[panel];
  emulated.require(emulated.shapes.row_bytes[rows] == 4 * steps);
  for (int row = 0; row < emulated.shapes.rows[rows]; row++) {
    Number* sum = reinterpret_cast<Number*>(emulated.bytes[sums][row]);
    const typename D::Activation* left = reinterpret_cast<typename D::Activation*>(emulated.bytes[rows][row]);
    for (int step = 0; step < steps; step++, left += D::GROUP) {
      const typename D::Weight* right = reinterpret_cast<typename D::Weight*>(emulated.bytes[panel][step]);
      for (int column = 0; column < PANEL; column++, right += D::GROUP)
        for (int i = 0; i < D::GROUP; i++) {
          if constexpr (D::QUANTISED)
            sum[column] += int32_t(left[i]) * int32_t(right[i]);
          else
            sum[column] += from_bf16(left[i]) * from_bf16(right[i]);
        }
    }
  }
}

#endif

// Tile registers while this lives. They are given back at the end: other libraries configure their own, and a thread that
// holds some takes longer to be switched.
struct TileSession {
  TileSession() { configure_tiles(TileShapes(TILE_STEPS)); }
  ~TileSession() { release_tiles(); }
  TileSession(const TileSession&) = delete;
};

// A product's steps cut into tiles of equal depth: all of 16 steps where that comes out even.
struct TileDepth {
  int tiles, steps;  // how many, and of how many steps each

  explicit TileDepth(int all) : tiles((all + TILE_STEPS - 1) / TILE_STEPS) {
    while (all % tiles) tiles++;
    steps = all / tiles;
    if (steps != TILE_STEPS) configure_tiles(TileShapes(steps));
  }
  ~TileDepth() {
    if (steps != TILE_STEPS) configure_tiles(TileShapes(TILE_STEPS));
  }
  TileDepth(const TileDepth&) = delete;
};

// Left and right operand of up to 32 rows and two panels.
struct BlockOperands {
  const void* rows;
  ptrdiff_t row_bytes;  // from one row to the next
  const void* panels;
  ptrdiff_t panel_bytes;  // from one panel to the next
};

// sums = rows * panels, 16 columns a panel. `between(tile)` is called while the tile registers multiply: what it computes
// in vector registers costs no time of its own as long as it takes less.
template <class D, bool TALL, bool WIDE, class Between>
TWINS_INLINE void multiply_block(const BlockOperands& operands, const TileDepth& depth, void* sums, ptrdiff_t sum_bytes,
                                 Between between) {
  const char *rows = static_cast<const char*>(operands.rows), *panels = static_cast<const char*>(operands.panels);
  zero_tile<0>();
  if constexpr (WIDE) zero_tile<1>();
  if constexpr (TALL) zero_tile<2>();
  if constexpr (TALL && WIDE) zero_tile<3>();
  for (int tile = 0; tile < depth.tiles; tile++, rows += 4 * depth.steps, panels += 64 * depth.steps) {
    load_tile<6>(panels, 64);
    load_tile<4>(rows, operands.row_bytes);
    multiply_tiles<D, 0, 4, 6>();
    if constexpr (WIDE) {
      load_tile<7>(panels + operands.panel_bytes, 64);
      multiply_tiles<D, 1, 4, 7>();
    }
    if constexpr (TALL) {
      load_tile<5>(rows + TILE_HEIGHT * operands.row_bytes, operands.row_bytes);
      multiply_tiles<D, 2, 5, 6>();
      if constexpr (WIDE) multiply_tiles<D, 3, 5, 7>();
    }
    between(tile);
  }
  char* to = static_cast<char*>(sums);
  store_tile<0>(to, sum_bytes);
  if constexpr (WIDE) store_tile<1>(to + 64, sum_bytes);
  if constexpr (TALL) store_tile<2>(to + TILE_HEIGHT * sum_bytes, sum_bytes);
  if constexpr (TALL && WIDE) store_tile<3>(to + TILE_HEIGHT * sum_bytes + 64, sum_bytes);
}

template <class D, class Between>
TWINS_INLINE void multiply_block(const BlockOperands& operands, int rows, int panels, const TileDepth& depth, void* sums,
                                 ptrdiff_t sum_bytes, Between between) {
  const bool tall = rows > TILE_HEIGHT, wide = panels > 1;
  if (tall && wide) return multiply_block<D, true, true>(operands, depth, sums, sum_bytes, between);
  if (tall) return multiply_block<D, true, false>(operands, depth, sums, sum_bytes, between);
  if (wide) return multiply_block<D, false, true>(operands, depth, sums, sum_bytes, between);
  multiply_block<D, false, false>(operands, depth, sums, sum_bytes, between);
}

}  // namespace twins::TWINS_ISA
