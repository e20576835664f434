// What Python calls: plain C functions over packed weights. They answer 0, or -1 and a line of text in `error`.
#pragma once

#include <cstdint>

#define TWINS_EXPORT extern "C" __attribute__((visibility("default")))

// Names of the instruction sets that this processor has and this build knows, slowest first, with blanks between.
TWINS_EXPORT const char* twins_instruction_sets();

// images: (batch, channels, height, width); answers: channels-last maps of the wanted stages, or logits (batch, classes),
// of `answer_sizes` floats a picture.
TWINS_EXPORT int twins_forward(const uint8_t* packed, int64_t bytes, const char* instruction_set, int threads,
                               const float* images, int batch, int channels, int height, int width,
                               float* const* answers, const int64_t* answer_sizes, int answer_count, char* error,
                               int error_size);

// Seconds that `repeats` products of 98 rows with a packed matrix take when each of `threads` cores computes its own:
// `weight` is packed as the dtype asks, `inputs` x `outputs`.
TWINS_EXPORT int twins_time_product(const char* instruction_set, int dtype, const void* weight, const float* columns,
                                    int inputs, int outputs, int repeats, int threads, double* seconds, char* error,
                                    int error_size);
