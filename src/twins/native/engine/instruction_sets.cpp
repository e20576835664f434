#include "instruction_sets.h"

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace twins {

namespace {

struct InstructionSet {
  const char* name;
  const Kernels* kernels;
};

std::vector<InstructionSet> find() {
  std::vector<InstructionSet> found = {{"portable", &portable_kernels}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return found;
  found.push_back({"avx2", &avx2_kernels});
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512vl"))
    return found;
  found.push_back({"avx512", &avx512_kernels});
  if (!__builtin_cpu_supports("avx512vnni")) return found;
  found.push_back({"avx512_vnni", &avx512_vnni_kernels});
  if (__builtin_cpu_supports("avx512bf16")) found.push_back({"avx512_bf16", &avx512_bf16_kernels});
#endif
  return found;
}

const std::vector<InstructionSet>& available() {
  static const std::vector<InstructionSet> found = find();
  return found;
}

}  // namespace

const char* instruction_set_names() {
  static const std::string names = [] {
    std::string joined;
    for (const InstructionSet& set : available()) {
      if (!joined.empty()) joined += ' ';
      joined += set.name;
    }
    return joined;
  }();
  return names.c_str();
}

const Kernels& kernels_of(const char* name) {
  for (const InstructionSet& set : available())
    if (std::strcmp(set.name, name) == 0) return *set.kernels;
  throw std::runtime_error("this processor or build has no instruction set " + std::string(name));
}

}  // namespace twins
