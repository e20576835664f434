// Softmax attention of one head, a block of keys at a time, so that scores never leave the nearest caches.
#pragma once

#if defined(TWINS_TILES)
#include "attention_by_tiles.h"
#else
#include "attention_in_registers.h"
#endif
