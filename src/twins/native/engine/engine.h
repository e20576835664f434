// What Python calls: plain C functions over packed weights. They return 0, or -1 and a line of text in `error`.
#pragma once

#include <cstdint>

#define TWINS_EXPORT extern "C" __attribute__((visibility("default")))

// Names of the instruction sets that this CPU has and this build knows, slowest first, with blanks between.
TWINS_EXPORT const char* twins_instruction_sets();

// Windows of more tokens the engine does not take.
TWINS_EXPORT int twins_most_tokens_of_window();

// The name, written to `name`, of the instruction set that computes in a dtype when `wanted` is asked for; the fastest if
// `wanted` is empty.
TWINS_EXPORT int twins_instruction_set(const char* wanted, int dtype, char* name, int name_size, char* error,
                                       int error_size);

// images: (batch, channels, height, width); outputs: channels-last maps of the wanted stages, or logits (batch, classes),
// of `output_sizes` floats an image.
TWINS_EXPORT int twins_forward(const uint8_t* packed, int64_t bytes, const char* instruction_set, int threads,
                               const float* images, int batch, int channels, int height, int width,
                               float* const* outputs, const int64_t* output_sizes, int output_count, char* error,
                               int error_size);

// Seconds that `repeats` products with a packed matrix take when each of `threads` cores computes its own, of as many rows
// as the instruction set works on at a time: `rows` says how many. `weight` is packed as the dtype asks, inputs x outputs.
TWINS_EXPORT int twins_time_product(const char* instruction_set, int dtype, const void* weight, const float* columns,
                                    int inputs, int outputs, int repeats, int threads, int* rows, double* seconds,
                                    char* error, int error_size);

// The same of products of what registers hold, without loads; no multiply-adds where an instruction set has none of them.
TWINS_EXPORT int twins_time_peak(const char* instruction_set, int dtype, int repeats, int threads,
                                 int64_t* multiply_adds, double* seconds, char* error, int error_size);
