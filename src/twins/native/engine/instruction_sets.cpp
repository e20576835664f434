#include "instruction_sets.h"

#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace twins {

namespace {

struct InstructionSet {
  const char *name, *extends;
  const Kernels* kernels;  // by Dtype
};

#if defined(__x86_64__)

// The CPU multiplies tiles of bfloat16 and of bytes, the system saves them when it switches threads, and it lets this
// process use them: Linux has to be asked, once, and refuses where a thread's stack for signals is too small for them.
bool has_amx() {
  unsigned a, b, c, d;
  constexpr unsigned BF16 = 1u << 22, TILES = 1u << 24, INT8 = 1u << 25, OSXSAVE = 1u << 27;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (BF16 | TILES | INT8)) != (BF16 | TILES | INT8)) return false;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE)) return false;
  constexpr unsigned CONFIGURATION = 1u << 17, DATA = 1u << 18;
  __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  if ((a & (CONFIGURATION | DATA)) != (CONFIGURATION | DATA)) return false;
#if defined(__linux__)
  constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
#else
  return false;
#endif
}

// Every x86 CPU of the last years is Intel's or AMD's; the others that have AVX-512 are of Intel's design.
bool is_amd() {
  unsigned a, b, c, d;
  return __get_cpuid(0, &a, &b, &c, &d) && c == 0x444d4163;  // "cAMD", the end of AuthenticAMD
}

#endif

// Slowest first, for every dtype.
std::vector<InstructionSet> find() {
  std::vector<InstructionSet> found = {{"amx_emulated", "portable", amx_emulated_kernels},
                                       {"portable", "", portable_kernels}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return found;
  found.push_back({"avx2", "portable", avx2_kernels});
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512vl"))
    return found;
  const InstructionSet avx512 = {"avx512", "avx2", avx512_kernels};
  const InstructionSet avx512_bf16 = {"avx512_bf16", "avx512_vnni", avx512_bf16_kernels};
  const bool multiplies_bf16 = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  // Products of bfloat16 pairs are as many a cycle as those of floats on AMD (Zen 4), but half as many on Intel (Sapphire
  // Rapids), where widening weights and multiplying floats is 1.4 times as fast: see docs/speed.md.
  if (multiplies_bf16 && !is_amd()) found.push_back(avx512_bf16);
  found.push_back(avx512);
  if (__builtin_cpu_supports("avx512vnni")) found.push_back({"avx512_vnni", "avx512", avx512_vnni_kernels});
  if (multiplies_bf16 && is_amd()) found.push_back(avx512_bf16);
  if (multiplies_bf16 && has_amx()) found.push_back({"amx", "avx512_bf16", amx_kernels});
#endif
  return found;
}

const std::vector<InstructionSet>& available() {
  static const std::vector<InstructionSet> found = find();
  return found;
}

const InstructionSet& named(const std::string& name) {
  for (const InstructionSet& set : available())
    if (name == set.name) return set;
  throw std::runtime_error("this CPU or build has no instruction set " + name);
}

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : available()) names.push_back(set.name);
  return names;
}

std::string instruction_set_for(Dtype dtype, const std::string& wanted) {
  const auto computes = [&](const InstructionSet& set) { return set.kernels[int(dtype)].run_group != nullptr; };
  if (wanted.empty()) {
    for (auto set = available().rbegin();; set++)
      if (computes(*set)) return set->name;
  }
  const InstructionSet* set = &named(wanted);
  while (!computes(*set)) set = &named(set->extends);
  return set->name;
}

const Kernels& kernels_of(Dtype dtype, const std::string& name) { return named(name).kernels[int(dtype)]; }

}  // namespace twins
