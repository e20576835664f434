// Runs the engine without Python, for sanitizers, emulators and other CPUs.
//
//     check INSTRUCTION_SET THREADS CASE...
//
// A case is a file that `test_engine_builds.py` writes: 64-bit words, then the packed network, images and, of each
// output, the floats that are expected. Every case is run twice, the second time in used memory, and by two threads of
// the caller at a time. The status is 1 where an output is further away than the case allows.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "engine.h"
#include "instruction_sets.h"

// Left out of this build: the CPUs that would choose them do not run it.
namespace twins {
const Kernels avx512_kernels[3] = {}, avx512_vnni_kernels[3] = {}, avx512_bf16_kernels[3] = {}, amx_kernels[3] = {};
#if defined(WITHOUT_AVX2)
const Kernels avx2_kernels[3] = {};
#endif
#if defined(WITHOUT_EMULATION)
const Kernels amx_emulated_kernels[3] = {};
#endif
}

namespace {

struct Case {
  std::vector<uint8_t> packed;
  std::vector<float> images;
  std::vector<std::vector<float>> outputs;
  int64_t batch = 0, height = 0, width = 0;
  double within = 0;
};

template <class T> void read(std::ifstream& file, std::vector<T>& values, int64_t count) {
  values.resize(size_t(count));
  file.read(reinterpret_cast<char*>(values.data()), std::streamsize(count * int64_t(sizeof(T))));
}

Case case_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) std::exit(2);
  std::vector<int64_t> head, sizes;
  read(file, head, 7);  // bytes, floats of images, batch, height, width, outputs, 1e9 times what is allowed
  read(file, sizes, head[5]);
  Case read_case;
  read(file, read_case.packed, head[0]);
  read(file, read_case.images, head[1]);
  for (int64_t size : sizes) read(file, read_case.outputs.emplace_back(), size);
  read_case.batch = head[2], read_case.height = head[3], read_case.width = head[4];
  read_case.within = double(head[6]) * 1e-9;
  return read_case;
}

// How far the engine's outputs are from the expected ones, over the largest of these if that is above 1.
double distance(const Case& c, const char* instruction_set, int threads) {
  std::vector<std::vector<float>> outputs;
  std::vector<float*> pointers;
  std::vector<int64_t> sizes;
  outputs.reserve(c.outputs.size());
  for (const auto& expected : c.outputs) {
    outputs.emplace_back(expected.size(), std::numeric_limits<float>::quiet_NaN());
    pointers.push_back(outputs.back().data());
    sizes.push_back(int64_t(expected.size()) / c.batch);
  }
  const int channels = int(int64_t(c.images.size()) / (c.batch * c.height * c.width));
  char error[256];
  if (twins_forward(c.packed.data(), int64_t(c.packed.size()), instruction_set, threads, c.images.data(), int(c.batch),
                    channels, int(c.height), int(c.width), pointers.data(), sizes.data(), int(pointers.size()), error,
                    sizeof error) != 0) {
    std::printf("%s\n", error);
    return std::numeric_limits<double>::infinity();
  }
  double worst = 0;
  for (size_t i = 0; i < outputs.size(); i++) {
    double apart = 0, largest = 1;
    for (size_t k = 0; k < outputs[i].size(); k++) {
      const double difference = std::fabs(double(outputs[i][k]) - double(c.outputs[i][k]));
      apart = difference <= apart ? apart : difference;  // NaN too
      largest = std::max(largest, std::fabs(double(c.outputs[i][k])));
    }
    worst = apart / largest <= worst ? worst : apart / largest;
  }
  return worst;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) return 2;
  const char* instruction_set = arguments[1];
  const int threads = std::atoi(arguments[2]);
  int failures = 0;
  for (int i = 3; i < count; i++) {
    const Case c = case_of(arguments[i]);
    double apart[3];
    apart[0] = distance(c, instruction_set, threads);
    std::thread other([&] { apart[1] = distance(c, instruction_set, threads); });
    apart[2] = distance(c, instruction_set, threads + 1);
    other.join();
    for (double a : apart)
      if (!(a <= c.within)) {
        std::printf("%s: %g apart, %g allowed\n", arguments[i], a, c.within);
        failures++;
      }
  }
  std::printf("%d cases, %d failures\n", count - 3, failures);
  return failures != 0;
}
